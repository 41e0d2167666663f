"""Advantage labels for a LeRobot data set: in place, as a new data set, or as an overlay beside it.

Of the data set only the columns that labels are made of are read first; of all frames, one number each is kept. The
data set is written when every label is known, so that whatever cannot be labelled leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from hitl_ops.contracts.advantage_prompt import label_prompts, split_advantage
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.lerobot_columns import EpisodeSpan, episode_spans, frame_named
from hitl_ops.records.lerobot_overlay import Overlay, open_overlay, read_column, write_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.lerobot_relabel import COLUMN, relabel_tasks
from hitl_ops.samples.stage_advantage import (
    Discretion,
    Float32,
    StageStatistics,
    label_advantages,
    progress_advantage,
    stages_of,
)

STAGE_PROGRESS = "stage_progress_gt"
Source = Literal["progress", "absolute_advantage", "relative_advantage"]
_ROUNDING = 1e-6
Mode = Literal["in place", "new data set", "overlay", "dry run"]


class AdvantageLabelConfig(StrictConfig):
    """How frames are labelled; the defaults are those of kai0's ``gt_label.py``."""

    threshold: float = Field(
        default=70.0, ge=0.0, le=100.0, description="Percent of frames that become positive, the best ones (binary)."
    )
    chunk_size: int = Field(default=50, ge=1, description="Frames to look ahead in progress.")
    discretion_type: Discretion = Field(default="binary", description="Two labels, or slices of equal share.")
    n_slices: int = Field(default=10, ge=2, le=1000, description="How many slices (n_slices).")
    advantage_source: Source = Field(default="progress", description="What advantages are made of.")
    progress_column: str = Field(
        default="progress", min_length=1, description="Column the source 'progress' is read from, e.g. progress_gt."
    )
    stage_nums: int = Field(
        default=1, ge=1, le=1000, description=f"Stages of equal length in {STAGE_PROGRESS}, each labelled by itself."
    )
    task: str | None = Field(
        default=None, min_length=1, description="The task in words; the data set's own, if it has one, where null."
    )

    @property
    def column(self) -> str:
        """The column that advantages are made of."""
        return self.progress_column if self.advantage_source == "progress" else self.advantage_source


class AdvantageLabelSummary(BaseModel):
    """What was labelled, and how it came out."""

    dataset: str = Field(description="The data set that was labelled.")
    result: str | None = Field(description="Where the labels are; null after a dry run.")
    mode: Mode = Field(description="How they were written.")
    config: AdvantageLabelConfig = Field(description="How they were made.")
    task: str = Field(description="The task without an advantage.")
    tasks: list[str] = Field(description="The prompt of each label.")
    episodes: int = Field(description="Episodes in the data set.")
    frames: int = Field(description="Frames in the data set.")
    labels: list[int] = Field(description="Frames with each label.")
    share_positive: float | None = Field(
        description="Share of frames with label 1 (binary); ties make it larger than the threshold says."
    )
    stages: list[StageStatistics] = Field(description="What there was in each stage.")
    plot: str | None = Field(default=None, description="The picture with the histograms.")


def label_advantage(
    dataset: str | Path,
    config: AdvantageLabelConfig | None = None,
    progress: Progress = silent,
    *,
    out: str | Path | None = None,
    overlay: str | Path | None = None,
    overlays: Sequence[str | Path] = (),
    plot: str | Path | None = None,
    dry_run: bool = False,
) -> AdvantageLabelSummary:
    """Label every frame of a data set by its advantage.

    Args:
        dataset: of version 3.0 or 2.1.
        config: how; kai0's defaults where None.
        progress: told after each data file that is written.
        out: folder of a new data set with the labels; its videos are links.
        overlay: folder of an overlay with the labels; the data set stays untouched. In place without either.
        overlays: overlays whose columns go before the data set's own, the last first.
        plot: file for a picture of the histograms.
        dry_run: take the figures only, write no labels.

    Raises:
        UserError: a file fails, a column is missing, has NaN or another length than its episode (with file, episode
            and frame), the task is not known, or the disk is full. The data set stays as it was.
    """
    if out is not None and overlay is not None:
        raise UserError("a new data set and an overlay are asked for at once", "name one of them")
    config = config or AdvantageLabelConfig()
    folder = open_lerobot(dataset)
    task = config.task or _own_task(folder)
    tasks = label_prompts(task, config.discretion_type, config.n_slices)
    labels, stages, spans = _labels(folder, config, [open_overlay(one, folder) for one in overlays])
    counts = np.bincount(labels, minlength=len(tasks)).tolist()
    mode: Mode = "dry run"
    if not dry_run:
        mode = "overlay" if overlay is not None else "in place" if out is None else "new data set"
    result = {"overlay": overlay, "in place": dataset, "new data set": out, "dry run": None}[mode]
    summary = AdvantageLabelSummary(
        dataset=str(dataset),
        result=None if result is None else str(result),
        mode=mode,
        config=config,
        task=split_advantage(task)[0],
        tasks=tasks,
        episodes=len(spans),
        frames=len(labels),
        labels=counts,
        share_positive=counts[1] / len(labels) if config.discretion_type == "binary" else None,
        stages=stages,
        plot=None if plot is None else str(plot),
    )
    if mode == "overlay":
        made: dict[str, Any] = {"by": "label-advantage", "config": config.model_dump(mode="json")}
        made |= {"overlays": [str(one) for one in overlays], "share_positive": summary.share_positive}
        write_overlay(str(overlay), folder, {COLUMN: labels}, tasks=dict(enumerate(tasks)), made=made)
    elif mode != "dry run":
        relabel_tasks(folder, labels, tasks, out, progress)
    if plot is not None:
        from hitl_ops.samples.advantage_plots import publish_advantage_plot

        publish_advantage_plot(plot, summary.stages, config.discretion_type)
    return summary


def _own_task(folder: LeRobotFolder) -> str:
    found = sorted({split_advantage(task)[0] for task in folder.tasks.values()})
    if len(found) != 1:
        told = ", ".join(f"'{task}'" for task in found[:3]) or "none"
        raise UserError(
            f"data set '{folder.root}' has {len(found)} tasks ({told}), the labels one", "say which with --task TEXT"
        )
    return found[0]


def _labels(
    folder: LeRobotFolder, config: AdvantageLabelConfig, overlays: Sequence[Overlay]
) -> tuple[npt.NDArray[np.int32], list[StageStatistics], list[EpisodeSpan]]:
    spans = episode_spans(folder)
    advantage = _advantages(folder, config, overlays, spans)
    stages = None
    if config.stage_nums > 1:
        values = read_column(folder, STAGE_PROGRESS, overlays)
        outside = np.flatnonzero((values < -_ROUNDING) | (values > 1 + _ROUNDING))
        if len(outside):
            frame = int(outside[0])
            raise UserError(
                f"'{STAGE_PROGRESS}' is {values[frame]} in {frame_named(spans, frame)} of '{folder.root}'",
                "progress goes from 0 to 1",
            )
        stages = stages_of(values, config.stage_nums)
    labels, found = label_advantages(
        advantage,
        stages,
        discretion=config.discretion_type,
        threshold=config.threshold,
        n_slices=config.n_slices,
        stage_nums=config.stage_nums,
    )
    return labels, found, spans


def _advantages(
    folder: LeRobotFolder, config: AdvantageLabelConfig, overlays: Sequence[Overlay], spans: list[EpisodeSpan]
) -> Float32:
    values = read_column(folder, config.column, overlays)
    if config.advantage_source != "progress":
        return values.astype(np.float32, copy=False)
    # In place where that is possible: what was read of an episode is needed for nothing else.
    ours = values.dtype == np.float32 and values.flags.writeable
    advantage = values if ours else np.empty(len(values), np.float32)
    for span in spans:
        if span.length:
            rows = slice(span.start, span.start + span.length)
            advantage[rows] = progress_advantage(values[rows], config.chunk_size)
    return advantage
