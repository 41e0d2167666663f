"""What a learned reward came to: figures as JSON, and pictures of how it follows the truth where that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.models.reward_model import RewardEnsemble
from hitl_ops.records.clips import Clip
from hitl_ops.training.reward import RewardFigures, TrainedReward

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT_FILE = "report.json"
TRUTH_PLOT = "learned_against_true.png"
LOSS_PLOT = "loss.png"
_POINTS = 4000
_INK, _BLUE, _GREY = "#27313b", "#2f6f9f", "#8a8f98"


class Truth(BaseModel):
    """How far a learned reward follows what a simulator says; nothing of this is ever learned from."""

    clips: int = Field(description="clips whose true rewards are known")
    step_correlation: float | None = Field(description="Pearson's, over all their steps; None where one is constant")
    clip_correlation: float | None = Field(description="the same of whole clips' sums")
    pair_accuracy: float | None = Field(description="share of pairs by lot in which it names the truly better clip")


class RewardReport(BaseModel):
    """What a reward came to."""

    figures: RewardFigures
    deviation: float = Field(description="of the reward over all steps it was learned from; 0 is a constant reward")
    disagreement: float = Field(description="mean standard deviation over the members, in units of the reward's own")
    truth: Truth | None = Field(description="None where nobody knows the true rewards")
    annotators: dict[str, float] = Field(default_factory=dict, description="how much each person counted")


def reward_report(
    trained: TrainedReward, clips: Sequence[Clip], annotators: Mapping[str, float] | None = None, seed: int = 0
) -> RewardReport:
    """Look at what a reward says of clips.

    Args:
        trained: the reward.
        clips: of the same kind as it was learned from, at least one.
        annotators: how much each person counted.
        seed: of the pairs by lot.
    """
    observations = np.concatenate([clip.observations for clip in clips])
    actions = np.concatenate([clip.actions for clip in clips])
    members = trained.model.member_rewards(observations, actions)
    mean = members.mean(axis=0)
    return RewardReport(
        figures=trained.figures,
        deviation=float(mean.std()),
        disagreement=float(members.std(axis=0).mean()),
        truth=reward_truth(trained.model, clips, seed),
        annotators=dict(annotators or {}),
    )


def reward_truth(model: RewardEnsemble, clips: Sequence[Clip], seed: int = 0) -> Truth | None:
    """Compare a learned reward with the true one; None where no clip's true rewards are known."""
    known = [clip for clip in clips if clip.true_rewards is not None]
    if not known:
        return None
    said, true = _said_and_true(model, known)
    ends = np.cumsum([clip.facts.steps for clip in known])[:-1]
    worth = np.array([part.sum() for part in np.split(said, ends)])
    returns = np.array([part.sum() for part in np.split(true, ends)])
    rng = np.random.default_rng(seed)
    left, right = rng.integers(len(known), size=(2, _POINTS))
    differ = returns[left] != returns[right]
    agree = (worth[left] > worth[right]) == (returns[left] > returns[right])
    # Saying the same of two clips names neither.
    agree &= worth[left] != worth[right]
    return Truth(
        clips=len(known),
        step_correlation=_correlation(said, true),
        clip_correlation=_correlation(worth, returns),
        pair_accuracy=float(agree[differ].mean()) if differ.any() else None,
    )


def _said_and_true(
    model: RewardEnsemble, clips: Sequence[Clip]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    observations = np.concatenate([clip.observations for clip in clips])
    actions = np.concatenate([clip.actions for clip in clips])
    true = np.concatenate([clip.true_rewards for clip in clips if clip.true_rewards is not None])
    return model.rewards(observations, actions).astype(np.float64), true.astype(np.float64)


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    if len(one) < 2 or one.std() < 1e-9 or other.std() < 1e-9:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def write_reward_report(
    trained: TrainedReward, clips: Sequence[Clip], out: Path, annotators: Mapping[str, float] | None = None
) -> RewardReport:
    """Publish ``report.json``, ``loss.png`` and, where true rewards are known, ``learned_against_true.png``.

    Args:
        trained: the reward.
        clips: of the same kind as it was learned from, at least one.
        out: folder.
        annotators: how much each person counted.

    Raises:
        CannotWrite: the folder cannot be written.
    """
    report = reward_report(trained, clips, annotators)
    _publish(_loss_figure(trained), out / LOSS_PLOT)
    known = [clip for clip in clips if clip.true_rewards is not None]
    if known:
        _publish(_truth_figure(trained.model, known, report), out / TRUTH_PLOT)
    publish_json(out / REPORT_FILE, report)
    return report


def _publish(figure: Figure, path: Path) -> None:
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _loss_figure(trained: TrainedReward) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    steps, losses = zip(*trained.curve, strict=True)
    axes.plot(steps, losses, color=_BLUE, label="a batch of what it learns from")
    axes.axhline(float(np.log(2)), color=_GREY, ls=":", lw=1, label="by lot")
    held = trained.figures.validation_loss
    if held is not None:
        axes.axhline(held, color=_INK, ls="--", lw=1, label=f"held out, at the end: {held:.2f}")
    axes.set(xlabel="steps", ylabel="loss a comparison, nats", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    return figure


def _truth_figure(model: RewardEnsemble, clips: Sequence[Clip], report: RewardReport) -> Figure:
    from matplotlib.figure import Figure

    said, true = _said_and_true(model, clips)
    shown = np.random.default_rng(0).permutation(len(said))[:_POINTS]
    ends = np.cumsum([clip.facts.steps for clip in clips])[:-1]
    sums = [np.array([part.sum() for part in np.split(values, ends)]) for values in (true, said)]
    truth = report.truth
    figure = Figure(figsize=(9, 4), layout="constrained")
    steps, whole = figure.subplots(1, 2)
    steps.plot(true[shown], said[shown], ".", ms=2, alpha=0.35, color=_BLUE)
    whole.plot(sums[0], sums[1], ".", ms=4, alpha=0.6, color=_INK)
    for axes, name, found in (
        (steps, "a step", truth.step_correlation if truth else None),
        (whole, "a clip", truth.clip_correlation if truth else None),
    ):
        axes.set(
            xlabel=f"true reward of {name}",
            ylabel=f"learned reward of {name}",
            title=f"{name}: r = {found:.2f}" if found is not None else f"{name}: one of both is constant",
        )
        axes.grid(alpha=0.3)
    return figure
