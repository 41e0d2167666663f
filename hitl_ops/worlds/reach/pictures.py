"""Pictures of the reaching arm: from the side and from above, so that it can be seen in space how near the hand comes.

Drawn from joint positions and target alone, without a step of physics: through OpenGL off screen where the machine has
it, else with PyBullet's TinyRenderer. The ball is as large as the distance that counts as reached. What the arm hides
is outlined over it, and thin posts show above which point of the ground hand and ball are.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Picture
from hitl_ops.worlds.quiet_physics import quiet_pybullet
from hitl_ops.worlds.reach.kinematics import link_frames
from hitl_ops.worlds.reach.views import BALL_RADIUS, VIEWS, Matrix, View

Backend = Literal["auto", "opengl", "pybullet"]

_OUTLINE, _DOT, _HALO, _INK = (214, 26, 31), (0, 168, 104), (255, 255, 255), (70, 78, 88)
_DOT_RADIUS = 0.02
_FINER = 2
"""Outlines are drawn this many times larger and averaged down: smooth edges."""
_FARTHEST = 4096
"""Pixels from the picture's corner beyond which no outline is drawn: it is not to be seen."""

_log = logging.getLogger(__name__)
_said: set[str] = set()


class ArmDrawing(Protocol):
    """Draws the arm, its target and the ground."""

    backend: str

    def pose(self, joints: Matrix, frames: Matrix, target: Matrix) -> None:
        """Put everything into its place.

        Args:
            joints: positions of the joints, [7] rad.
            frames: of the base and of all links, [8, 4, 4].
            target: where the ball is, [3] m.
        """

    def draw(self, view: View, size: int) -> Picture:
        """The picture from a camera, [size, size, 3] uint8 RGB."""

    def close(self) -> None:
        """Give back what drawing holds."""


class ReachPictures:
    """Draws the arm and its target; a context manager, to be used in one thread.

    Args:
        size: pixels from edge to edge of one view; the views stand side by side.
        backend: ``"auto"`` takes OpenGL where a context can be made, else PyBullet, and logs once why.

    Raises:
        UserError: OpenGL is asked for by name and this machine gives none.
    """

    def __init__(self, size: int = 320, backend: Backend = "auto") -> None:
        self.size = size
        self._drawing = _drawing(backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def backend(self) -> str:
        """What draws: ``"opengl"`` or ``"pybullet"``."""
        return self._drawing.backend

    def close(self) -> None:
        """Give back what it draws with."""
        self._drawing.close()

    def draw(self, joints: npt.NDArray[np.floating[Any]], target: npt.NDArray[np.floating[Any]]) -> Picture:
        """Draw a moment.

        Args:
            joints: positions of the joints, [7] rad.
            target: where the hand should be, [3] m.

        Returns:
            [size, 2 * size, 3] uint8 RGB, all views side by side.
        """
        angles, ball = np.asarray(joints, np.float64), np.asarray(target, np.float64)
        frames = link_frames(angles[None])[0]
        self._drawing.pose(angles, frames, ball)
        picture = np.concatenate([self._seen(view, frames[-1, :3, 3], ball) for view in VIEWS], axis=1)
        picture[:, self.size - 1 : self.size + 1] = 255
        return picture

    def _seen(self, view: View, hand: Matrix, ball: Matrix) -> Picture:
        from PIL import Image, ImageDraw

        picture = Image.fromarray(self._drawing.draw(view, self.size))
        thin = max(1, _FINER * self.size // 240)
        _circle(picture, view.on_picture(ball, BALL_RADIUS, self.size), outline=_OUTLINE, width=thin)
        _circle(picture, view.on_picture(hand, _DOT_RADIUS, self.size), fill=_DOT, outline=_HALO, width=thin)
        ImageDraw.Draw(picture).text((6, 4), view.name, fill=_INK)
        return np.asarray(picture)


def _circle(picture: Any, where: tuple[float, float, float] | None, **how: Any) -> None:
    """Draw a circle with smooth edges, given column, row and radius; none where it is out of sight."""
    from PIL import Image, ImageDraw

    if where is None or max(abs(part) for part in where) > _FARTHEST:
        return
    column, row, radius = where
    left, top, side = math.floor(column - radius) - 1, math.floor(row - radius) - 1, math.ceil(2 * radius) + 4
    over = Image.new("RGBA", (side * _FINER, side * _FINER))
    across, down, reach = (column - left) * _FINER, (row - top) * _FINER, radius * _FINER
    ImageDraw.Draw(over).ellipse((across - reach, down - reach, across + reach, down + reach), **how)
    over = over.resize((side, side), Image.Resampling.BOX)
    picture.paste(over, (left, top), over)


def _drawing(backend: Backend) -> ArmDrawing:
    if backend != "pybullet":
        try:
            from hitl_ops.worlds.reach.opengl_pictures import OpenGLPictures

            return OpenGLPictures()
        except (ImportError, UserError) as error:
            what = error.what if isinstance(error, UserError) else str(error)
            if backend == "opengl":
                raise UserError(f"the arm cannot be drawn with OpenGL: {what}", "use 'pybullet'") from None
            if what not in _said:
                _said.add(what)
                _log.warning("Pictures are drawn with PyBullet's TinyRenderer, which is slower (%s)", what)
    quiet_pybullet()  # before the module that has it among its imports
    from hitl_ops.worlds.reach.tiny_pictures import TinyPictures

    return TinyPictures()
