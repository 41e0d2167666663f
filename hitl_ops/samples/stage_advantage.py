"""From progress to advantage labels: kai0's stage advantage (its ``gt_label.py``), on arrays.

An advantage is the progress that the next ``chunk_size`` frames bring. Frames of one stage are compared with each
other: the best share becomes label 1, or each slice of equal share gets a number. Labels equal upstream's bit for bit,
as it runs on NumPy 2: advantages in float32; percentiles in float64 over one stage, in float32 over several.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

Discretion = Literal["binary", "n_slices"]
Float32 = npt.NDArray[np.float32]

_BLOCK = 1 << 18
_BARS = 40


class StageStatistics(BaseModel):
    """The advantages of one stage, and what became of them."""

    stage: int = Field(description="Number of the stage, from 0.")
    frames: int = Field(description="Frames in it; the figures below are null where there are none.")
    mean: float | None = Field(default=None, description="Of its advantages.")
    std: float | None = Field(default=None, description="Population deviation of its advantages.")
    min: float | None = Field(default=None, description="Smallest advantage.")
    max: float | None = Field(default=None, description="Largest advantage.")
    percentiles: dict[int, float] = Field(default_factory=dict, description="Percent -> advantage, in steps of ten.")
    boundaries: list[float] = Field(
        default_factory=list, description="binary: the threshold; n_slices: the lower end of each slice."
    )
    labels: list[int] = Field(default_factory=list, description="Frames with each label.")
    histogram: list[int] = Field(default_factory=list, description="Frames in each of equally wide bins.")
    histogram_edges: list[float] = Field(default_factory=list, description="Ends of the bins, one more than bins.")

    @property
    def shares(self) -> list[float]:
        """Share of its frames with each label."""
        return [count / self.frames for count in self.labels] if self.frames else []


def progress_advantage(progress: npt.NDArray[Any], chunk_size: int) -> Float32:
    """What the next frames bring, over one episode.

    Where fewer than ``chunk_size`` frames follow, the pace to the episode's last frame is taken for all of them:
    ``(p[-1] - p[i]) / (n - i) * chunk_size``.

    Args:
        progress: [n], any number of frames from 1.
        chunk_size: frames to look ahead, from 1.

    Returns:
        [n]; computed in the progress's own precision, then rounded.
    """
    kind = progress.dtype if progress.dtype.kind == "f" else np.dtype(np.float64)
    values = progress.astype(kind, copy=False)
    frames = len(values)
    advantage = np.empty(frames, np.float32)
    whole = max(frames - chunk_size, 0)
    advantage[:whole] = values[chunk_size:] - values[:whole]
    left = np.arange(frames - whole, 0, -1).astype(kind)
    advantage[whole:] = (values[-1] - values[whole:]) / left * kind.type(chunk_size)
    return advantage


def stages_of(stage_progress: npt.NDArray[Any], stage_nums: int) -> npt.NDArray[np.int16]:
    """The stage of each frame: ``min(int(stage_progress / (1 / stage_nums)), stage_nums - 1)``.

    Args:
        stage_progress: 0 to 1, [N].
        stage_nums: stages of equal length, from 1 to 1000.

    Returns:
        [N].
    """
    if stage_nums == 1:
        return np.zeros(len(stage_progress), np.int16)
    values = stage_progress if stage_progress.dtype.kind == "f" else stage_progress.astype(np.float64)
    return np.minimum(values / values.dtype.type(1.0 / stage_nums), stage_nums - 1).astype(np.int16)


def label_advantages(
    advantage: Float32,
    stages: npt.NDArray[np.int16] | None,
    *,
    discretion: Discretion = "binary",
    threshold: float = 70.0,
    n_slices: int = 10,
    stage_nums: int = 1,
) -> tuple[npt.NDArray[np.int32], list[StageStatistics]]:
    """Label frames by how their advantage stands among those of their stage.

    Args:
        advantage: [N], no NaN among them.
        stages: of each frame, [N]; None where there is one stage only.
        discretion: ``binary`` (0 and 1) or ``n_slices`` (0 to n_slices - 1).
        threshold: percent of each stage's frames to become 1, as far as ties let them.
        n_slices: slices of equal share.
        stage_nums: how many stages there are.

    Returns:
        The labels, [N], and what there was in each stage.
    """
    if stage_nums == 1:
        # Precisions are upstream's: its advantages are a list of floats over one stage, of float32 over several.
        labels, one = _label_stage(0, advantage, np.dtype(np.float64), discretion, threshold, n_slices)
        return labels, [one]
    assert stages is not None
    labels, found = np.zeros(len(advantage), np.int32), []
    for stage in range(stage_nums):
        there = stages == stage
        own = advantage[there]
        labels[there], one = _label_stage(stage, own, own.dtype, discretion, threshold, n_slices)
        found.append(one)
    return labels, found


def _label_stage(
    stage: int, advantage: Float32, kind: np.dtype[Any], discretion: Discretion, threshold: float, n_slices: int
) -> tuple[npt.NDArray[np.int32], StageStatistics]:
    """The labels of one stage's frames; percentiles are taken in the precision ``kind``."""
    if not len(advantage):
        return np.zeros(0, np.int32), StageStatistics(stage=stage, frames=0)
    percents = range(0, 101, 10)
    ordered = np.sort(advantage)
    # One at a time, as upstream does: NumPy rounds a list of percents otherwise than single ones.
    wanted = [100 - threshold] if discretion == "binary" else [100 / n_slices * k for k in range(n_slices)]
    boundaries = np.array([_percentile(ordered, one, kind) for one in wanted], kind)
    percentiles = {one: float(_percentile(ordered, float(one), kind)) for one in percents}
    least, most = float(ordered[0]), float(ordered[-1])
    del ordered
    counts, edges = np.histogram(advantage, bins=_BARS, range=_range_of_bars(least, most))
    mean, std = _moments(advantage)
    labels = np.empty(len(advantage), np.int32)
    for start in range(0, len(labels), _BLOCK):
        part = advantage[start : start + _BLOCK]
        if discretion == "binary":
            labels[start : start + _BLOCK] = part >= boundaries[0]
        else:
            labels[start : start + _BLOCK] = np.maximum(np.searchsorted(boundaries, part, side="right") - 1, 0)
    return labels, StageStatistics(
        stage=stage,
        frames=len(advantage),
        mean=mean,
        std=std,
        min=least,
        max=most,
        percentiles=percentiles,
        boundaries=boundaries.tolist(),
        labels=np.bincount(labels, minlength=2 if discretion == "binary" else n_slices).tolist(),
        histogram=counts.tolist(),
        histogram_edges=edges.tolist(),
    )


def _range_of_bars(least: float, most: float) -> tuple[float, float] | None:
    """None, which is all values; or half a unit more either way where they are next to equal.

    NumPy takes that for values that are all equal, and refuses bins narrower than numbers lie apart.
    """
    apart = float(np.spacing(np.float32(max(abs(least), abs(most)))))
    return None if most - least > 2 * _BARS * apart else (least - 0.5, most + 0.5)


def _percentile(ordered: Float32, percent: float, kind: np.dtype[Any]) -> Any:
    """What ``numpy.percentile`` makes of the values in the precision ``kind``, without a copy in double precision."""
    if kind == ordered.dtype:
        return np.percentile(ordered, percent, overwrite_input=True)
    rank = (len(ordered) - 1) * (percent / 100)
    below = int(rank)
    low, high = (float(ordered[min(at, len(ordered) - 1)]) for at in (below, below + 1))
    share = rank - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def _moments(values: Float32) -> tuple[float, float]:
    """Mean and population deviation, a block at a time."""
    blocks = range(0, len(values), _BLOCK)
    mean = sum(float(values[start : start + _BLOCK].sum(dtype=np.float64)) for start in blocks) / len(values)
    squares = 0.0
    for start in blocks:
        away = np.subtract(values[start : start + _BLOCK], mean, dtype=np.float64)
        squares += float(away @ away)
    return mean, (squares / len(values)) ** 0.5
