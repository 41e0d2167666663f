"""The simulated robots there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from hitl_ops.contracts.config import StrictConfig, parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import RobotReading, RobotWorld
from hitl_ops.worlds.aloha.world import AlohaConfig, AlohaWorld
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld

RobotWorldName = Literal["bimanual", "aloha"]
ROBOT_WORLDS: tuple[RobotWorldName, ...] = ("bimanual", "aloha")


class SoftWorld(RobotWorld, Protocol):
    """A world that says why an episode failed, and whose robot can let go."""

    @property
    def failure(self) -> str:
        """Why the episode has not succeeded so far; empty once it has."""

    def tick_damped(self) -> RobotReading:
        """One control step in which the motors only brake."""


_CONFIGS: dict[RobotWorldName, type[StrictConfig]] = {"bimanual": BimanualConfig, "aloha": AlohaConfig}


def robot_world_config(name: str, options: Mapping[str, Any]) -> StrictConfig:
    """The options of a world, checked, without making it.

    Args:
        name: the world.
        options: its settings; what is not named is as the world's configuration has it.

    Raises:
        UserError: there is no such world, or an option is unknown or wrong.
    """
    for known in ROBOT_WORLDS:
        if known == name:
            return parse_config(_CONFIGS[known], dict(options), source=f"options of world '{name}'")
    raise UserError(f"there is no robot world '{name}'", f"there are {', '.join(ROBOT_WORLDS)}")


def make_robot_world(name: str, options: Mapping[str, Any] | None = None) -> SoftWorld:
    """A simulated robot with its task; whoever asks for it closes it.

    Args:
        name: the world, one of :data:`ROBOT_WORLDS`.
        options: its settings, such as ``cameras``, ``height`` and ``width``.

    Raises:
        UserError: there is no such world, an option is unknown or wrong, or a package it needs is missing.
    """
    config = robot_world_config(name, options or {})
    if isinstance(config, AlohaConfig):
        return AlohaWorld(config)
    assert isinstance(config, BimanualConfig)
    return BimanualWorld(config)
