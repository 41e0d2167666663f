"""Where progress comes from: a person's marks, verdicts, or a column that is there already; made into an overlay.

The overlay holds ``stage_progress_gt`` and ``progress_gt``, both [N] float32 in [0, 1] with the same numbers, and the
data set stays untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, Field

from hitl_ops.contracts.advantage_prompt import split_advantage
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.robot import Float32
from hitl_ops.labels.episode_ids import episode_ids
from hitl_ops.labels.progress_marks import MAX_STAGES, Mark, standing_marks
from hitl_ops.records.lerobot_overlay import read_column, write_overlay
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder, open_lerobot
from hitl_ops.records.station_hdf5 import Verdict
from hitl_ops.samples.progress_rules import marks_progress, verdict_progress

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog

STAGE_PROGRESS = "stage_progress_gt"
PROGRESS = "progress_gt"


class ProgressConfig(StrictConfig):
    """Where progress comes from."""

    source: Literal["marks", "verdicts", "column"] = Field(
        default="marks",
        description="marks: a person's, by the manual rule; verdicts: normalised returns, as RECAP has them; "
        "column: what the data set holds already",
    )
    stages: int = Field(default=4, ge=1, le=MAX_STAGES, description="stages of the task, K")
    verdict: Literal["advantage", "success"] = Field(
        default="advantage",
        description="which verdict counts where none is given: a person's (advantage), or the simulator's truth "
        "(success), as the data set notes them",
    )
    failure_cost: float | None = Field(
        default=None,
        gt=0,
        description="what failing costs, in steps, C; as many as the task's longest episode has where not set",
    )
    column: str = Field(default=STAGE_PROGRESS, min_length=1, description="the column, for the source column")
    monotone: bool = Field(default=False, description="whether progress that falls within an episode is an error")


class ProgressSummary(BaseModel):
    """What came of it."""

    source: str
    stages: int
    episodes: int = 0
    frames: int = 0
    reached: dict[int, float] = Field(
        default_factory=dict,
        description="stage -> share of episodes that reached it at some frame; empty for verdicts, which know none",
    )
    finished: float = Field(default=0.0, description="share of episodes whose last frame has progress 1")
    falling: list[int] = Field(default_factory=list, description="episodes in which progress falls")
    mean_end: float = Field(default=0.0, description="mean progress of the last frames")
    overlay: str = Field(default="", description="the overlay's folder")

    @property
    def monotone(self) -> bool:
        """Whether progress falls nowhere."""
        return not self.falling


def make_progress(
    config: ProgressConfig,
    dataset: str | Path,
    out: str | Path,
    *,
    marks: Mapping[int, Sequence[Mark]] | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
    progress: Progress = silent,
) -> ProgressSummary:
    """Write progress of every frame of a data set as an overlay.

    Args:
        config: where it comes from.
        dataset: the data set, version 3.0 or 2.1; stays as it is.
        out: the overlay's folder.
        marks: episode index → marks, for the source marks (:func:`stored_marks`); an empty list says that a person
            looked and saw nothing reached.
        verdicts: episode index or id → verdict, for the source verdicts, the index before the id; counts before what
            the data set notes.
        progress: told after each episode.

    Raises:
        UserError: an episode has no marks or no verdict, marks cannot be, the column is missing, has NaN or leaves
            [0, 1], progress falls though it must not; names the data set, the episode and the frame. What stood at
            ``out`` stays.
    """
    folder = open_lerobot(dataset)
    entries = list(folder.entries())
    if not entries:
        raise UserError(f"data set '{folder.root}' has no episodes", "record some")
    if config.source == "marks":
        found = _by_marks(config, folder, entries, marks or {})
    elif config.source == "verdicts":
        found = _by_verdicts(config, folder, entries, verdicts or {})
    else:
        found = _by_column(config, folder, entries)
    summary = ProgressSummary(source=config.source, stages=config.stages, overlay=str(out))
    parts: list[Float32] = []
    reached = np.zeros(config.stages, np.int64)
    levels = (np.arange(config.stages) + 1) / config.stages
    ends: list[float] = []
    for entry, values in zip(entries, found, strict=True):
        fall = np.flatnonzero(np.diff(values) < 0)
        if fall.size:
            if config.monotone:
                raise UserError(
                    f"{_named(folder, entry)}, frame {fall[0] + 1}: progress falls",
                    "mark it anew, or leave out --set monotone=true",
                )
            summary.falling.append(entry.index)
        reached += values.max() >= levels - 1e-6
        ends.append(float(values[-1]))
        parts.append(values)
        progress(len(parts), len(entries), "episodes")
    column = np.concatenate(parts)
    write_overlay(
        out,
        folder,
        {STAGE_PROGRESS: column, PROGRESS: column},
        made={"by": "progress", **config.model_dump(mode="json")},
    )
    summary.episodes, summary.frames = len(entries), len(column)
    if config.source != "verdicts":  # which know no stages
        summary.reached = {number + 1: count / len(entries) for number, count in enumerate(reached.tolist())}
    summary.finished = float(np.mean(np.array(ends) >= 1 - 1e-6))
    summary.mean_end = float(np.mean(ends))
    return summary


def stored_marks(labels: LabelLog, dataset: str | Path | LeRobotFolder, stages: int) -> dict[int, list[Mark]]:
    """The marks of a data set's episodes as people left them, by episode index; only of those marked to the end.

    Raises:
        UserError: an episode was marked with another number of stages, or as one of another length.
        LabelStoreUnavailable: the label store does not answer.
    """
    folder = dataset if isinstance(dataset, LeRobotFolder) else open_lerobot(dataset)
    standing = standing_marks(labels)
    found: dict[int, list[Mark]] = {}
    for entry, episode_id in episode_ids(folder):
        if episode_id not in standing or not standing[episode_id][1].done:
            continue
        said = standing[episode_id][1]
        if said.stages != stages:
            raise UserError(
                f"{_named(folder, entry)} was marked with {said.stages} stages, not {stages}",
                f"--set stages={said.stages}, or mark it again",
            )
        if said.length != entry.length:
            raise UserError(
                f"{_named(folder, entry)} has {entry.length} frames, and {said.length} when it was marked",
                "mark it again",
            )
        found[entry.index] = list(said.marks)
    return found


def _named(folder: LeRobotFolder, entry: EpisodeEntry) -> str:
    return f"data set '{folder.root}', episode {entry.index}"


def _by_marks(
    config: ProgressConfig, folder: LeRobotFolder, entries: Sequence[EpisodeEntry], marks: Mapping[int, Sequence[Mark]]
) -> Iterable[Float32]:
    missing = [entry for entry in entries if entry.index not in marks]
    if missing:
        raise UserError(
            f"{_named(folder, missing[0])} is not marked ({len(missing)} of {len(entries)} are not)",
            f"mark it: flywheel mark-progress {folder.root}; or leave it out: flywheel convert --exclude",
        )
    for entry in entries:
        yield marks_progress(marks[entry.index], entry.length, config.stages, episode=_named(folder, entry))


def _by_verdicts(
    config: ProgressConfig, folder: LeRobotFolder, entries: Sequence[EpisodeEntry], verdicts: Mapping[str, Verdict]
) -> Iterable[Float32]:
    said = {entry.index: _verdict(config, folder, entry, verdicts) for entry in entries}
    names = {name for entry in entries for name in (str(entry.index), str(entry.facts.get("episode_id", "")))}
    unknown = sorted(set(verdicts) - names)
    if unknown:
        raise UserError(f"data set '{folder.root}' has no episode '{unknown[0]}'", "name an index or an episode id")
    longest: dict[str, int] = {}
    for entry in entries:
        longest[_task(entry)] = max(longest.get(_task(entry), 0), entry.length)
    for entry in entries:
        most = longest[_task(entry)]
        yield verdict_progress(entry.length, said[entry.index], most, config.failure_cost or float(most))


def _task(entry: EpisodeEntry) -> str:
    return split_advantage(entry.tasks[0])[0] if entry.tasks else ""


def _verdict(
    config: ProgressConfig, folder: LeRobotFolder, entry: EpisodeEntry, verdicts: Mapping[str, Verdict]
) -> bool:
    for name in (str(entry.index), str(entry.facts.get("episode_id", ""))):
        if name in verdicts:
            return verdicts[name] == "good"
    said = entry.facts.get(config.verdict)
    if said is None:
        raise UserError(
            f"{_named(folder, entry)} has no verdict ('{config.verdict}')",
            f"give one: --label {entry.index}=good or {entry.index}=bad",
        )
    return bool(said)


def _by_column(config: ProgressConfig, folder: LeRobotFolder, entries: Sequence[EpisodeEntry]) -> Iterable[Float32]:
    column = read_column(folder, config.column)
    if column.ndim != 1 or column.dtype.kind not in "fiu":
        raise UserError(f"data set '{folder.root}': column '{config.column}' holds no numbers", "name another column")
    first = 0
    for entry in entries:
        values = column[first : first + entry.length]
        outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if outside.size:
            raise UserError(
                f"'{entry.data}', episode {entry.index}, frame {outside[0]}: '{config.column}' is"
                f" {values[outside[0]]:g}",
                "progress goes from 0 to 1",
            )
        first += entry.length
        yield values.astype(np.float32)
