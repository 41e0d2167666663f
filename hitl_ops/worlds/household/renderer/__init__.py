"""Pictures of a home: what agents see, the plan from above, and videos of episodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.frame import Frame, Renderer
from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription

__all__ = ["Backend", "Camera", "Frame", "Renderer", "make_renderer"]

Backend = Literal["auto", "opengl", "pybullet"]

_log = logging.getLogger(__name__)
_said: set[str] = set()


def make_renderer(
    description: SceneDescription, shapes: Mapping[str, ObjectShape], backend: Backend = "auto"
) -> Renderer:
    """A renderer for one home.

    Args:
        description: the home.
        shapes: object kind → how it is drawn.
        backend: ``"auto"`` takes OpenGL where a context can be made, else PyBullet, and logs once which and why.

    Raises:
        UserError: an unknown backend, or one this machine cannot run.
    """
    if backend == "opengl":
        return _opengl(description, shapes)
    if backend == "pybullet":
        return _pybullet(description, shapes)
    if backend != "auto":
        raise UserError(f"renderer backend '{backend}' is unknown", "use 'auto', 'opengl' or 'pybullet'")
    try:
        renderer = _opengl(description, shapes)
    except UserError as error:
        _say_once(logging.WARNING, f"Pictures are drawn with PyBullet's TinyRenderer, which is slower ({error.what})")
        return _pybullet(description, shapes)
    return renderer


def _opengl(description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> Renderer:
    try:
        from hitl_ops.worlds.household.renderer.opengl import OpenGLRenderer
    except ImportError as error:
        raise UserError(f"OpenGL cannot be used: {error}", "install moderngl") from error
    renderer = OpenGLRenderer(description, shapes)
    _say_once(logging.INFO, f"Pictures are drawn with OpenGL on {renderer.device}")
    return renderer


def _pybullet(description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> Renderer:
    from hitl_ops.worlds.quiet_physics import quiet_pybullet

    quiet_pybullet()  # before the module that has it among its imports
    from hitl_ops.worlds.household.renderer.pybullet_tiny import PyBulletRenderer

    return PyBulletRenderer(description, shapes)


def _say_once(level: int, message: str) -> None:
    if message not in _said:
        _said.add(message)
        _log.log(level, message)
