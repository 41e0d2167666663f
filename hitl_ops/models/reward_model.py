"""The learned reward: an ensemble that says what a step is worth, from what was observed and what was done.

All members run as one batched network. What they say is only defined up to a shift and a scale (a comparison fixes
neither), so the ensemble carries its own: over the clips it was trained on, the reward has mean 0 and deviation 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.models.reward_config import RewardModelConfig

WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "reward.json"
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
}
_ROWS_AT_ONCE = 65_536

Float32 = npt.NDArray[np.float32]


class RewardFacts(BaseModel):
    """What stands in ``reward.json``, beside the weights."""

    config: RewardModelConfig
    observations: int = Field(description="numbers in an observation, D")
    actions: int = Field(description="numbers in an action, A")
    made: dict[str, Any] = Field(default_factory=dict)


class _Layers(nn.Module):
    """A linear layer of every member: [K, B, in] → [K, B, out].

    Args:
        members: K.
        inputs: numbers that come in.
        outputs: numbers that go out.
        generator: of the first weights.
        rising: whether more coming in never makes less go out: weights then count by their size alone.
    """

    def __init__(
        self, members: int, inputs: int, outputs: int, generator: torch.Generator, *, rising: bool = False
    ) -> None:
        super().__init__()
        self.rising = rising
        bound = 1 / math.sqrt(inputs)  # PyTorch's own for linear layers
        self.weight = nn.Parameter((torch.rand(members, inputs, outputs, generator=generator) * 2 - 1) * bound)
        self.bias = nn.Parameter((torch.rand(members, 1, outputs, generator=generator) * 2 - 1) * bound)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, rows, self.weight.abs() if self.rising else self.weight)


class RewardEnsemble(nn.Module):
    """K networks that each say what a step is worth.

    Where they are to be concave, all layers but the first have weights that are not negative, and what comes out is
    turned over: an input-convex network (Amos et al. 2017) without its ways past the first layer.

    Args:
        config: what they look like.
        observations: numbers in an observation, D.
        actions: numbers in an action, A.
        seed: of their first weights; every member has its own.

    Raises:
        UserError: the configuration names a place that an observation does not have.
    """

    input_mean: Tensor
    input_scale: Tensor
    reward_mean: Tensor
    reward_scale: Tensor

    def __init__(self, config: RewardModelConfig, observations: int, actions: int, seed: int = 0) -> None:
        super().__init__()
        self.config, self.observations, self.actions = config, observations, actions
        named = [*(config.observed or ()), *(place for pair in config.differences for place in pair)]
        wrong = [place for place in named if not 0 <= place < observations]
        if wrong:
            raise UserError(
                f"the reward is to see number {wrong[0]} of observations that have {observations}",
                "correct model.observed and model.differences; places count from 0",
            )
        self._observed = list(range(observations)) if config.observed is None else list(config.observed)
        self._minuend = [first for first, _ in config.differences]
        self._subtrahend = [second for _, second in config.differences]
        width = len(self._observed) + len(self._minuend) + (actions if config.use_actions else 0)
        inputs = width
        generator = torch.Generator().manual_seed(seed)
        self._concave = config.shape == "concave"
        layers: list[nn.Module] = []
        for size in (*config.hidden, 1):
            rising = self._concave and bool(layers)
            layers += [_Layers(config.members, inputs, size, generator, rising=rising)]
            layers += [_ACTIVATIONS[config.activation]()]
            inputs = size
        layers.pop()  # what comes out is no neuron
        self.layers = nn.Sequential(*layers)
        self.register_buffer("input_mean", torch.zeros(width))
        self.register_buffer("input_scale", torch.ones(width))
        self.register_buffer("reward_mean", torch.zeros(config.members))
        self.register_buffer("reward_scale", torch.ones(config.members))

    def inputs(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What the networks see, not normalised: [..., D], [..., A] → [..., F]."""
        parts = [observations[..., self._observed]]
        if self._minuend:
            parts.append(observations[..., self._minuend] - observations[..., self._subtrahend])
        if self.config.use_actions:
            parts.append(actions)
        return torch.cat(parts, dim=-1)

    def fit_inputs(self, observations: Tensor, actions: Tensor) -> None:
        """Take the networks' normalisation from rows [N, D] and [N, A]; a number that never changes is left at 0."""
        seen = self.inputs(observations, actions)
        deviation = seen.std(dim=0, unbiased=False)
        self.input_mean.copy_(seen.mean(dim=0))
        self.input_scale.copy_(
            torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), torch.zeros_like(deviation))
        )

    def raw(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What each member says, in its own units: [..., D], [..., A] → [K, ...]."""
        seen = (self.inputs(observations, actions) - self.input_mean) * self.input_scale
        rows = seen.reshape(1, -1, seen.shape[-1]).expand(self.config.members, -1, -1)
        said: Tensor = self.layers(rows)
        return (-said if self._concave else said).reshape(self.config.members, *seen.shape[:-1])

    def fit_rewards(self, observations: Tensor, actions: Tensor) -> None:
        """Shift and scale each member so that over rows [N, D] and [N, A] its reward has mean 0 and deviation 1.

        A member that says the same of every row stays flat: nothing is scaled up that is not there.
        """
        with torch.no_grad():
            said = self.raw(observations, actions)
        deviation = said.std(dim=1, unbiased=False)
        self.reward_mean.copy_(said.mean(dim=1))
        self.reward_scale.copy_(
            torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), torch.zeros_like(deviation))
        )

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Each member's normalised reward: [..., D], [..., A] → [K, ...]."""
        said = self.raw(observations, actions)
        shape = (-1, *([1] * (said.ndim - 1)))
        return (said - self.reward_mean.reshape(shape)) * self.reward_scale.reshape(shape)

    @torch.no_grad()
    def rewards(self, observations: Float32, actions: Float32) -> Float32:
        """The members' mean: [N, D], [N, A] → [N]."""
        return self.member_rewards(observations, actions).mean(axis=0)

    @torch.no_grad()
    def member_rewards(self, observations: Float32, actions: Float32) -> Float32:
        """Each member's: [N, D], [N, A] → [K, N]."""
        self.check(observations, actions)
        parts = [
            self(
                torch.from_numpy(observations[start : start + _ROWS_AT_ONCE]),
                torch.from_numpy(actions[start : start + _ROWS_AT_ONCE]),
            ).numpy()
            for start in range(0, len(observations), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self.config.members, 0), dtype=np.float32)

    def check(self, observations: Float32, actions: Float32) -> None:
        """Look whether these are observations and actions of the kind it was trained on.

        Raises:
            UserError: they have another number of numbers.
        """
        found = (observations.shape[-1], actions.shape[-1])
        if found != (self.observations, self.actions):
            raise UserError(
                f"the reward was learned from {self.observations} observed numbers and {self.actions} of an action, "
                f"and is asked about {found[0]} and {found[1]}",
                "use the world's settings it was trained with, or train it anew",
            )


def save_reward(model: RewardEnsemble, folder: Path, made: dict[str, Any] | None = None) -> None:
    """Publish a reward's weights and what it is, as one folder; what lay there is replaced whole.

    Raises:
        CannotWrite: the folder cannot be written.
    """
    facts = RewardFacts(
        config=model.config, observations=model.observations, actions=model.actions, made=dict(made or {})
    )
    with publishing(folder) as temporary:
        temporary.mkdir()
        publish_json(temporary / FACTS_FILE, facts)
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary / WEIGHTS_FILE)


def read_reward_facts(folder: Path) -> RewardFacts:
    """What stands beside a reward's weights.

    Raises:
        UserError: there is no reward, or what it says of itself cannot be read.
    """
    try:
        return RewardFacts.model_validate_json((folder / FACTS_FILE).read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no learned reward in '{folder}'", "train one with `flywheel train-reward`") from None
    except (OSError, ValidationError) as error:
        raise _unreadable(folder, error) from None


def load_reward(folder: Path) -> RewardEnsemble:
    """A reward as it was saved, ready to be asked.

    Raises:
        UserError: there is none, or its files do not fit each other.
    """
    facts = read_reward_facts(folder)
    try:
        model = RewardEnsemble(facts.config, facts.observations, facts.actions)
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
    except FileNotFoundError:
        raise UserError(f"there is no learned reward in '{folder}'", "train one with `flywheel train-reward`") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unreadable(folder, error) from None
    return model.eval()


def _unreadable(folder: Path, error: Exception) -> UserError:
    return UserError(f"the learned reward in '{folder}' cannot be read: {str(error).splitlines()[0]}", "train it anew")
