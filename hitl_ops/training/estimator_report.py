"""How well an estimator's word agrees with what is true, on episodes it has not learned from."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.models.estimator_config import ABSOLUTE_ADVANTAGE, ABSOLUTE_VALUE, RELATIVE_ADVANTAGE

if TYPE_CHECKING:
    import torch

    from hitl_ops.models.advantage_estimator import AdvantageEstimator
    from hitl_ops.training.estimator_data import EstimatorFrames
    from hitl_ops.training.estimator_pictures import PictureSource

REPORT = "report.json"
BINS = 10
_SAME = 1e-6
"""Numbers that differ by no more than this are taken for one."""
_SHOWN = 4000
Floats = npt.NDArray[np.float32]


class Agreement(BaseModel):
    """Estimates beside the truth."""

    model_config = ConfigDict(extra="forbid")

    frames: int
    pearson: float | None = Field(description="correlation; none where one of the two is the same everywhere")
    spearman: float | None = Field(description="correlation of the ranks")
    mean_error: float = Field(description="mean distance of the estimate from the truth")
    bias: float = Field(description="mean of estimate less truth")


class CalibrationBin(BaseModel):
    """Frames of which much the same was said."""

    model_config = ConfigDict(extra="forbid")

    frames: int
    estimate: float = Field(description="mean of what was said")
    truth: float = Field(description="mean of what is true")


class EpisodeAgreement(BaseModel):
    """One episode."""

    model_config = ConfigDict(extra="forbid")

    episode: int = Field(description="its number in the data set")
    advantage: Agreement
    value: Agreement


class EstimatorReport(BaseModel):
    """What ``report.json`` says; all that is measured is of episodes kept aside."""

    model_config = ConfigDict(extra="forbid")

    name: str
    variant: str
    steps: int
    delta: int = Field(description="frames that advantages look ahead")
    advantage: Agreement = Field(
        description="relative_advantage of KAI0, absolute_advantage of PI06; over all episodes"
    )
    absolute_advantage: Agreement = Field(description="over all episodes")
    value: Agreement = Field(description="absolute_value and progress, over all episodes")
    advantage_calibration: list[CalibrationBin] = Field(description="tenths of the frames, by what was said of them")
    value_calibration: list[CalibrationBin]
    episodes: list[EpisodeAgreement]
    trained_on: list[int] = Field(
        default=[], description="numbers in the data set of the episodes learned from; older reports do not name them"
    )


def true_advantage(progress: Floats, delta: int) -> Floats:
    """The advantage of each frame of an episode by its progress, by the rule that estimates follow.

    Args:
        progress: of the episode's frames, [T].
        delta: frames it looks ahead.

    Returns:
        [T] float32, -1 to 1.
    """
    exact = progress.astype(np.float64)
    ahead = np.minimum(np.arange(len(exact)) + delta, len(exact) - 1)
    distance = ahead - np.arange(len(exact))
    scale = np.where(distance > 0, delta / np.maximum(distance, 1), 0.0)
    return np.clip((exact[ahead] - exact) * scale, -1, 1).astype(np.float32)


def agreement(estimate: Floats, truth: Floats) -> Agreement:
    """Compare estimates with the truth, [N] each."""
    from scipy import stats

    said, true = estimate.astype(np.float64), truth.astype(np.float64)
    pearson = spearman = None
    if np.ptp(said) > _SAME and np.ptp(true) > _SAME:
        pearson = float(np.corrcoef(said, true)[0, 1])
        spearman = float(np.corrcoef(stats.rankdata(said), stats.rankdata(true))[0, 1])
    error = said - true
    return Agreement(
        frames=len(said),
        pearson=pearson,
        spearman=spearman,
        mean_error=float(np.abs(error).mean()),
        bias=float(error.mean()),
    )


def calibration(estimate: Floats, truth: Floats, bins: int = BINS) -> list[CalibrationBin]:
    """Means of estimate and truth over equal shares of the frames, in the order of what was said of them."""
    order = np.argsort(estimate, kind="stable")
    return [
        CalibrationBin(
            frames=len(part), estimate=float(estimate[part].mean()), truth=float(truth[part].mean(dtype=np.float64))
        )
        for part in np.array_split(order, bins)
        if len(part)
    ]


def report_estimator(
    model: AdvantageEstimator,
    frames: EstimatorFrames,
    source: PictureSource,
    episodes: Sequence[int],
    delta: int,
    out: Path,
    *,
    batch: int,
    trained_on: Sequence[int] = (),
) -> EstimatorReport:
    """Estimate whole episodes, compare with their progress, and write ``report.json`` and plots.

    Args:
        model: the estimator.
        frames: the data set's.
        source: of its pictures.
        episodes: places of the episodes in the data set; at least one.
        delta: frames that advantages look ahead.
        out: folder of the training.
        batch: frames encoded at once.
        trained_on: places of the episodes that the estimator has learned from.

    Raises:
        UserError: a video cannot be decoded, or the disk is full.
    """
    from hitl_ops.models.advantage_estimator import episode_advantages

    name = RELATIVE_ADVANTAGE if model.facts.config.variant == "KAI0" else ABSOLUTE_ADVANTAGE
    parts: dict[str, list[Floats]] = {"advantage": [], "absolute": [], "value": [], "true": [], "progress": []}
    told = []
    for number in episodes:
        one = frames.episodes[number]
        progress = frames.progress[one.start : one.start + one.length]
        said = episode_advantages(model, _features(model, frames, source, number, batch), delta)
        true = true_advantage(progress, delta)
        told.append(
            EpisodeAgreement(
                episode=one.index,
                advantage=agreement(said[name], true),
                value=agreement(said[ABSOLUTE_VALUE], progress),
            )
        )
        found = (said[name], said[ABSOLUTE_ADVANTAGE], said[ABSOLUTE_VALUE], true, progress)
        for part, values in zip(parts.values(), found, strict=True):
            part.append(values)
    whole = {key: np.concatenate(values) for key, values in parts.items()}
    report = EstimatorReport(
        name=model.facts.name,
        variant=model.facts.config.variant,
        steps=model.facts.steps,
        delta=delta,
        advantage=agreement(whole["advantage"], whole["true"]),
        absolute_advantage=agreement(whole["absolute"], whole["true"]),
        value=agreement(whole["value"], whole["progress"]),
        advantage_calibration=calibration(whole["advantage"], whole["true"]),
        value_calibration=calibration(whole["value"], whole["progress"]),
        episodes=told,
        trained_on=sorted(frames.episodes[number].index for number in trained_on),
    )
    _draw(out / "plots" / "advantage.png", f"advantage over {delta} frames", whole["advantage"], whole["true"], report)
    _draw(out / "plots" / "value.png", "progress", whole["value"], whole["progress"], report)
    publish_json(out / REPORT, report)
    return report


def read_estimator_report(out: Path) -> EstimatorReport:
    """The report of a training that kept episodes aside.

    Args:
        out: folder of the training.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = Path(out) / REPORT
    try:
        return EstimatorReport.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "train to the end, with validation_fraction above 0") from None
    except (OSError, ValueError):
        raise UserError(f"'{file}' is damaged", "train again") from None


def is_reported(out: Path, delta: int, episodes: int) -> bool:
    """Whether there is a whole report that looks so many frames ahead, on so many episodes.

    Args:
        out: folder of the training.
        delta: frames that advantages look ahead.
        episodes: how many it is of; of none there is no report.
    """
    if not episodes:
        return True
    with contextlib.suppress(UserError):
        report = read_estimator_report(out)
        return (report.delta, len(report.episodes)) == (delta, episodes)
    return False


def _features(
    model: AdvantageEstimator, frames: EstimatorFrames, source: PictureSource, number: int, batch: int
) -> torch.Tensor:
    """The features of all frames of an episode, [T, F]."""
    import torch

    one, device = frames.episodes[number], model.state_mean.device
    parts = []
    with torch.no_grad():
        for first in range(0, one.length, batch):
            rows = np.arange(first, min(first + batch, one.length))
            seen = torch.from_numpy(np.ascontiguousarray(source.pictures(number, rows))).permute(0, 1, 4, 2, 3)
            felt = None if frames.state is None else torch.from_numpy(frames.state[one.start + rows]).to(device)
            parts.append(model.encode(seen.to(device), felt))
    return torch.cat(parts)


def _draw(path: Path, what: str, estimate: Floats, truth: Floats, report: EstimatorReport) -> None:
    """Every frame's estimate over its truth, and beside it the calibration, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    of_value = what == "progress"
    agreed, bins = (
        (report.value, report.value_calibration) if of_value else (report.advantage, report.advantage_calibration)
    )
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shown = np.linspace(0, len(estimate) - 1, min(len(estimate), _SHOWN)).astype(np.int64)
    low, high = float(min(estimate.min(), truth.min())), float(max(estimate.max(), truth.max()))
    for axes in (left, right):
        axes.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=0)
        axes.set_xlabel(f"estimated {what}")
        axes.set_ylabel(f"true {what}")
        axes.grid(alpha=0.3)
    left.scatter(estimate[shown], truth[shown], s=4, alpha=0.3, linewidths=0)
    correlation = "none" if agreed.pearson is None else f"{agreed.pearson:.3f}"
    left.set_title(f"{len(report.episodes)} held-out episodes, correlation {correlation}")
    right.plot([one.estimate for one in bins], [one.truth for one in bins], marker="o", markersize=4)
    right.set_title("calibration: means of tenths of the frames")
    with publishing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
