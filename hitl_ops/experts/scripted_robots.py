"""The scripted expert of each simulated robot."""

from __future__ import annotations

from typing import Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArms, ScriptedArmsConfig
from hitl_ops.worlds.robot_worlds import ROBOT_WORLDS


class ScriptedExpert(Protocol):
    """Plays one episode after the other; each is deterministic in its seed and what it reads."""

    policy_id: str

    def start(self, seed: int) -> None:
        """Begin the episode of this seed."""

    def act(self, reading: RobotReading) -> Float32:
        """The next joint targets, [dim] float32, from a reading with its environment state."""


def scripted_expert(world: str, config: ScriptedArmsConfig | None = None) -> ScriptedExpert:
    """Who plays a world well, or as clumsily as it is told to.

    Args:
        world: the world's name, one of :data:`hitl_ops.worlds.robot_worlds.ROBOT_WORLDS`.
        config: how well.

    Raises:
        UserError: there is no such world, or a package it needs is missing.
    """
    if world == "bimanual":
        return ScriptedArms(config)
    if world == "aloha":
        from hitl_ops.experts.scripted_aloha import ScriptedAloha

        return ScriptedAloha(config)
    raise UserError(f"there is no robot world '{world}'", f"there are {', '.join(ROBOT_WORLDS)}")
