"""Learning a reward from preferences: an ensemble, every member in the same pass, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.models.reward_model import RewardEnsemble
from hitl_ops.training.preference_loss import preference_loss
from hitl_ops.training.reward_config import RewardTrainConfig
from hitl_ops.training.reward_data import PreferenceData

_CLIPS_AT_ONCE = 64


class RewardFigures(BaseModel):
    """How a reward came out."""

    comparisons: int = Field(description="learned from")
    ties: int = Field(description="of these")
    held_out: int = Field(description="comparisons never learned from")
    loss: float = Field(description="mean cross entropy of the ensemble on what it learned from")
    accuracy: float | None = Field(description="share of answers the ensemble agrees with, ties left out")
    validation_loss: float | None = Field(description="on what was held out")
    validation_accuracy: float | None = None
    decided: float = Field(
        description="how sure it is which clip is better, 0 to 1: the mean of |2p - 1| over what it learned from, "
        "before it is scaled; 0 where it says the same of every clip"
    )
    left_out: dict[str, int] = Field(default_factory=dict, description="why comparisons were not used, and how many")


@dataclass(frozen=True, eq=False)
class TrainedReward:
    """A reward and how it came out.

    Attributes:
        model: the ensemble.
        figures: how well it agrees with people.
        curve: a row a noted step: step, loss.
    """

    model: RewardEnsemble
    figures: RewardFigures
    curve: list[tuple[int, float]]


def train_reward(data: PreferenceData, config: RewardTrainConfig, progress: Progress = silent) -> TrainedReward:
    """Learn a reward; the same data and configuration give the same reward on one machine.

    Args:
        data: what people said, and what they saw.
        config: how.
        progress: told of steps.

    Raises:
        UserError: every comparison is held out, or all of them are ties, so that nothing says which clip is better.
    """
    learned = np.flatnonzero(~data.validation)
    if not len(learned):
        raise UserError(
            f"all {len(data.said)} comparisons are held out", "compare more clips, or lower reward.validation_share"
        )
    if (data.said[learned] == 0.5).all():
        raise UserError(
            f"all {len(learned)} comparisons to learn from are ties, so nothing says which clip is better",
            "compare clips that differ more: let questions be chosen by lot, or from policies further apart",
        )
    learned = learned[data.weights[learned] > 0]
    if (data.said[learned] == 0.5).all():
        raise UserError(
            f"of {len(data.said)} comparisons, none that says which clip is better is by somebody whose word counts",
            "let somebody else compare the clips, or count everybody alike with reward.weigh_annotators=false",
        )
    rng = np.random.default_rng(config.seed)
    model = RewardEnsemble(config.model, data.observations.shape[2], data.actions.shape[2], config.seed)
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
    rows = tuple(torch.from_numpy(part) for part in data.rows())
    model.fit_inputs(*rows)
    mask = torch.from_numpy(data.mask)
    if config.worth == "mean":
        mask = mask / torch.from_numpy(data.lengths)[:, None]
    counts = _samples_of_members(learned, data, config, rng)
    named = list(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [value for name, value in named if name.endswith("weight")]},
        {"params": [value for name, value in named if name.endswith("bias")], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, eta_min=config.learning_rate / 20)
    told = torch.from_numpy(data.said)
    curve: list[tuple[int, float]] = []
    order: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    size = min(config.batch_pairs, len(learned))
    for step in range(config.steps):
        if len(order) < size:
            order = np.concatenate([order, rng.permutation(learned)])
        batch, order = order[:size], order[size:]
        worths = _worth(model, observations, actions, mask, data, batch)
        weights = counts[:, batch]
        losses = preference_loss(*worths, told[batch], noise=config.answer_noise, clip=config.clip)
        loss = (losses * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-6)
        penalty = sum((side**2).mean(dim=1) for side in worths)
        total = (loss + config.reward_penalty * penalty).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step + 1 == config.steps:
            curve.append((step + 1, float(loss.mean().detach())))
            progress(step + 1, config.steps, f"loss {curve[-1][1]:.3f}")
    model.fit_rewards(*rows)
    model.eval()
    return TrainedReward(model, reward_figures(model, data, config), curve)


def _samples_of_members(
    learned: npt.NDArray[np.int64], data: PreferenceData, config: RewardTrainConfig, rng: np.random.Generator
) -> Tensor:
    """[K, P]: how often each member sees each comparison, times how much it counts; 0 for what is held out."""
    counts = np.zeros((config.model.members, len(data.said)), dtype=np.float32)
    for member in counts:
        if config.bootstrap:
            np.add.at(member, rng.choice(learned, len(learned)), 1.0)
        else:
            member[learned] = 1.0
    return torch.from_numpy(counts * data.weights)


def _worth(
    model: RewardEnsemble,
    observations: Tensor,
    actions: Tensor,
    mask: Tensor,
    data: PreferenceData,
    batch: npt.NDArray[np.int64],
) -> tuple[Tensor, Tensor]:
    """What both clips of some comparisons are worth to each member: [K, B] twice."""
    rows = np.concatenate([data.left[batch], data.right[batch]])
    worth = (model.raw(observations[rows], actions[rows]) * mask[rows]).sum(dim=2)
    left, right = worth[:, : len(batch)], worth[:, len(batch) :]
    return left, right


@torch.no_grad()
def predicted(model: RewardEnsemble, data: PreferenceData, config: RewardTrainConfig) -> npt.NDArray[np.float32]:
    """How probable each member holds it that the left clip wins: [K, P]."""
    mask = torch.from_numpy(data.mask)
    if config.worth == "mean":
        mask = mask / torch.from_numpy(data.lengths)[:, None]
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
    # Every clip once, a few at a time: whole episodes are long.
    parts = [
        (
            model.raw(observations[first : first + _CLIPS_AT_ONCE], actions[first : first + _CLIPS_AT_ONCE])
            * mask[first : first + _CLIPS_AT_ONCE]
        ).sum(dim=2)
        for first in range(0, len(observations), _CLIPS_AT_ONCE)
    ]
    worth = torch.cat(parts, dim=1)
    difference = worth[:, data.left] - worth[:, data.right]
    found: npt.NDArray[np.float32] = torch.sigmoid(difference.clamp(-config.clip, config.clip)).numpy()
    return found


def reward_figures(model: RewardEnsemble, data: PreferenceData, config: RewardTrainConfig) -> RewardFigures:
    """How well a reward agrees with what people said; everybody's words weigh as much as in learning."""
    chance = predicted(model, data, config).mean(axis=0).astype(np.float64)
    tied, counts = data.said == 0.5, data.weights > 0
    mixed = np.clip(config.answer_noise / 2 + (1 - config.answer_noise) * chance, 1e-7, 1 - 1e-7)
    losses = -(data.said * np.log(mixed) + (1 - data.said) * np.log1p(-mixed))
    # Saying the same of both clips agrees with neither answer.
    right = ((chance > 0.5) & (data.said > 0.5)) | ((chance < 0.5) & (data.said < 0.5))

    def mean(values: npt.NDArray[Any], rows: npt.NDArray[np.bool_]) -> float | None:
        return float(np.average(values[rows], weights=data.weights[rows])) if rows.any() else None

    learned, held = ~data.validation & counts, data.validation & counts
    loss = mean(losses, learned)
    assert loss is not None  # something was learned from
    return RewardFigures(
        comparisons=int(learned.sum()),
        ties=int((tied & learned).sum()),
        held_out=int(held.sum()),
        loss=loss,
        accuracy=mean(right, learned & ~tied),
        validation_loss=mean(losses, held),
        validation_accuracy=mean(right, held & ~tied),
        decided=float(np.abs(2 * chance[learned] - 1).mean()),
        left_out={
            **data.left_out,
            **({"by people whose word does not count": int((~counts).sum())} if (~counts).any() else {}),
        },
    )
