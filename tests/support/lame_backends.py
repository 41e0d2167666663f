"""The kinematic scene behind the socket, with one thing wrong each: what a worker of habitat-sim may have wrong."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hitl_ops.worlds.habitat.kinematic_backend import KinematicBackend


class Blind(KinematicBackend):
    """Draws nothing, and says so."""

    def capabilities(self) -> list[str]:
        return []


class Dark(KinematicBackend):
    """Draws black pictures."""

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        return {"rgb": np.zeros((height, width, 3), np.uint8)}


class Far(KinematicBackend):
    """Measures no depth."""

    def capabilities(self) -> list[str]:
        return ["depth"]

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        return {"depth": np.full((height, width), camera["far"], np.float32)}


class Roadless(KinematicBackend):
    """Finds no way."""

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> dict[str, Any] | None:
        return None


class Dying(KinematicBackend):
    """Aborts while it draws, as a driver of a graphics card may."""

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        os.write(2, b"the driver is lost\n")
        os.abort()
