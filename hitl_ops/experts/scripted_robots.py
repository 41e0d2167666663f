"""The scripted hand that knows a world's task, by the world's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArms, ScriptedArmsConfig


class ScriptedExpert(Protocol):
    """Demonstrates a task, as carefully as it was told to."""

    @property
    def policy_id(self) -> str:
        """Names the hand and its clumsiness in records."""

    def start(self, seed: int) -> None:
        """Begin the episode of this seed."""

    def act(self, reading: RobotReading) -> Float32:
        """The next joint targets, [joints] float32."""


def scripted_expert(world: str, config: Mapping[str, Any] | None = None) -> ScriptedExpert:
    """The hand for a world.

    Args:
        world: its name.
        config: how well it does it: ``noise``, ``jitter``, ``seed``.

    Raises:
        UserError: nobody demonstrates in this world, or the configuration is wrong.
    """
    if world == "bimanual":
        return ScriptedArms(parse_config(ScriptedArmsConfig, dict(config or {}), source="scripted hand"))
    raise UserError(f"nobody demonstrates in world '{world}'", "record demonstrations of your own")
