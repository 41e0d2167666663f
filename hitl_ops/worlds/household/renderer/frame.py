"""What a renderer gives back, and what every renderer can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.camera import Camera


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        rgb: uint8 [h, w, 3], row 0 at the top.
        depth: float32 [h, w], metres along the view axis (not along the pixel's ray), the camera's ``far``
            where nothing is; None where it was not asked for.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None


class Renderer(Protocol):
    """Draws one home. Belongs to the process and the thread that made it."""

    backend: str
    """``"opengl"`` or ``"pybullet"``."""

    def render(self, facts: Facts, camera: Camera, width: int, height: int, depth: bool = True) -> Frame:
        """Draw a moment.

        Args:
            facts: the moment.
            camera: where from.
            width: pixels.
            height: pixels.
            depth: whether depth is wanted too; without it a frame costs less.
        """
        ...

    def close(self) -> None:
        """Give back what the renderer holds; closing twice is harmless."""
        ...
