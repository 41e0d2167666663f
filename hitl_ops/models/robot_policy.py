"""What a policy for a robot is to the server that asks it, and how one is opened from its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, get_args, runtime_checkable

import numpy as np
from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.robot import Float32, RobotSpec
from hitl_ops.models.action_model import PolicyKind

WEIGHTS_FOLDER = "merged"
CONFIG_FILE = "config.json"
"""Beside the weights; its key ``type`` says what kind of policy they are, as in LeRobot's checkpoints."""


class RobotPolicy(Protocol):
    """Chooses chunks of actions; asked from one thread at a time, and never from an event loop."""

    @property
    def spec(self) -> RobotSpec:
        """The robot it is for; observations are checked against it before they are handed over."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What a client is told about it beyond its robot: plain data, such as its task or its resting pose."""

    @property
    def max_batch(self) -> int:
        """Observations it can be asked with at once."""

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        """Choose a chunk of actions for each of ``observations``.

        Args:
            observations: 1 to ``max_batch``, each with ``state`` (float [dim]), ``images`` (camera → uint8 CHW) and
                ``prompt`` (ending with ``Advantage=True``); read-only.

        Returns:
            As many chunks of absolute joint targets, each float32 [horizon, dim].
        """


@runtime_checkable
class CanBeGuided(Protocol):
    """A policy that can be led further by what it is told than it was in its training."""

    def guide(self, guidance: float) -> None:
        """From now on act so: 1 as told, above it further in the direction from the untold to the told action.

        Raises:
            UserError: it was never told anything.
        """


class HoldPolicy:
    """Holds the joints where they are: to try a station out, its cameras, its network and its loop.

    Args:
        spec: the robot.
        max_batch: observations at once.
    """

    kind = "hold"

    def __init__(self, spec: RobotSpec, *, max_batch: int = 64) -> None:
        self.spec = spec
        self.max_batch = max_batch
        self.metadata: dict[str, Any] = {"task": "hold the joints"}

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        """See :class:`RobotPolicy`."""
        horizon = self.spec.action_horizon
        states = [np.asarray(observation["state"], np.float32) for observation in observations]
        return [np.repeat(state[None, :], horizon, axis=0) for state in states]

    def save(self, folder: Path) -> None:
        """Write it as a policy's weights are written, for :func:`load_robot_policy`.

        Raises:
            UserError: the disk is full or the place cannot be written.
        """
        publish_json(
            folder / WEIGHTS_FOLDER / CONFIG_FILE, {"type": self.kind, "spec": self.spec.model_dump(mode="json")}
        )

    @classmethod
    def load(cls, weights: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: it is damaged.
        """
        try:
            return cls(RobotSpec.model_validate(_config(weights).get("spec")))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("spec", *first["loc"])))
            raise UserError(f"policy '{weights / CONFIG_FILE}' is damaged at '{place}'", first["msg"]) from None


def _load_lerobot(weights: Path) -> RobotPolicy:
    from hitl_ops.models.lerobot_policy import LeRobotPolicy

    return LeRobotPolicy.load(weights)


LOADERS: dict[str, Callable[[Path], RobotPolicy]] = {
    HoldPolicy.kind: HoldPolicy.load,
    **dict.fromkeys(get_args(PolicyKind), _load_lerobot),
}
"""Kind of policy → what opens the folder of its weights; further kinds of policy are entered here."""


def load_robot_policy(folder: Path, guidance: float | None = None) -> RobotPolicy:
    """Open a policy for a robot.

    Args:
        folder: holds ``merged/`` with its weights and ``config.json``.
        guidance: how far it is led by what it is told, in place of what its training says.

    Raises:
        UserError: the folder holds no policy, a damaged one, one of a kind that cannot be served, or one that cannot be
            led.
    """
    weights = folder / WEIGHTS_FOLDER
    kind = _config(weights).get("type")
    if kind not in LOADERS:
        raise UserError(
            f"policy '{folder}' is of the kind '{kind}', which no robot can be served with",
            f"name one of the kind {', '.join(LOADERS)}",
        )
    policy = LOADERS[kind](weights)
    if guidance is None:
        return policy
    if not isinstance(policy, CanBeGuided):
        raise UserError(f"policy '{folder}' is told nothing that it could be led by", "leave guidance out")
    policy.guide(guidance)
    return policy


def joints_only(joints: int = 14, *, horizon: int = 50, frequency_hz: float = 50.0) -> RobotSpec:
    """A robot of which nothing is known but how many joints it has.

    Args:
        joints: how many.
        horizon: actions in a chunk.
        frequency_hz: actions a second.
    """
    return RobotSpec(
        name=f"any robot of {joints} joints",
        joint_names=tuple(f"joint_{number}" for number in range(joints)),
        frequency_hz=frequency_hz,
        action_horizon=horizon,
        gripper_indices=(),
    )


def _config(weights: Path) -> dict[str, Any]:
    file = weights / CONFIG_FILE
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"policy file '{file}' does not exist", "name a folder that a training wrote") from None
    except OSError as error:
        raise UserError(f"policy file '{file}' cannot be read", str(error)) from None
    except ValueError as error:
        raise UserError(f"policy file '{file}' is damaged ({error})", "train it again, or restore it") from None
    if not isinstance(config, dict):
        raise UserError(f"policy file '{file}' is damaged", "it is no map; train it again, or restore it")
    return config
