"""Pictures of the station: through OpenGL off screen where the machine has it, else with PyBullet's TinyRenderer."""

from __future__ import annotations

import logging
from typing import Any, Literal, Protocol

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Picture
from hitl_ops.worlds.bimanual.views import VIEWS, Poses, projection_matrix, view_matrix

Backend = Literal["auto", "opengl", "pybullet"]

_log = logging.getLogger(__name__)
_said: set[str] = set()


class StationPictures(Protocol):
    """Draws what a camera sees."""

    backend: str

    def draw(self, camera: str, poses: Poses, height: int, width: int) -> Picture:
        """The picture of one camera, [height, width, 3] uint8 RGB.

        Args:
            camera: one of ``VIEWS``.
            poses: where everything is.
            height: rows.
            width: columns.
        """

    def close(self) -> None:
        """Give back what drawing holds."""


def station_pictures(
    bullet: Any, client: int, backend: Backend = "auto", smooth_edges: bool = False
) -> StationPictures:
    """What draws the station.

    Args:
        bullet: the physics module.
        client: the physics that holds the bodies; TinyRenderer draws from there.
        backend: ``"auto"`` takes OpenGL where a context can be made, else PyBullet, and logs once why.
        smooth_edges: whether OpenGL draws several samples a pixel.

    Raises:
        UserError: OpenGL is asked for by name and this machine gives none.
    """
    if backend != "pybullet":
        try:
            from hitl_ops.worlds.bimanual.opengl_pictures import OpenGLPictures

            return OpenGLPictures(smooth_edges)
        except (ImportError, UserError) as error:
            what = error.what if isinstance(error, UserError) else str(error)
            if backend == "opengl":
                raise UserError(f"the station cannot be drawn with OpenGL: {what}", "use 'pybullet'") from None
            if what not in _said:
                _said.add(what)
                _log.warning("Pictures are drawn with PyBullet's TinyRenderer, which is slower (%s)", what)
    return TinyPictures(bullet, client)


class TinyPictures:
    """See :class:`StationPictures`."""

    backend = "pybullet"

    def __init__(self, bullet: Any, client: int) -> None:
        self._bullet = bullet
        self._client = client

    def draw(self, camera: str, poses: Poses, height: int, width: int) -> Picture:
        """See :meth:`StationPictures.draw`."""
        view = VIEWS[camera]
        _, _, pixels, _, _ = self._bullet.getCameraImage(
            width,
            height,
            viewMatrix=view_matrix(view, poses).T.ravel().tolist(),
            projectionMatrix=projection_matrix(view, height, width).T.ravel().tolist(),
            lightDirection=(-0.4, 0.5, 1.0),
            shadow=0,
            renderer=self._bullet.ER_TINY_RENDERER,
            flags=self._bullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )
        return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[..., :3])

    def close(self) -> None:
        """Nothing is held."""
