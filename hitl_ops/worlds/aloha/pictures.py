"""Pictures of a MuJoCo model, drawn without a screen."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Picture

_seen_failing: list[UserError] = []
"""What went wrong at the first try: MuJoCo aborts the process when it looks for OpenGL in vain a second time."""


class MujocoPictures:
    """Draws in the thread that made it.

    Args:
        model: a ``mujoco.MjModel``.
        shadows: whether things cast shadows.
        smooth_edges: whether a pixel is the mean of four samples.

    Raises:
        UserError: this machine gives MuJoCo no OpenGL context, or it was told to do without.
    """

    def __init__(self, model: Any, *, shadows: bool = True, smooth_edges: bool = True) -> None:
        import mujoco

        if _seen_failing:
            raise _seen_failing[0]
        self._mujoco = mujoco
        self._thread = threading.get_ident()
        model.vis.quality.offsamples = 4 if smooth_edges else 0
        if not shadows:
            model.vis.quality.shadowsize = 0  # 64 MB a context otherwise
        self._model = model
        try:
            self._gl: Any = _context_class()(8, 8)
            self._gl.make_current()
            self._context: Any = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # each backend has its own
            _seen_failing.append(
                UserError(
                    f"MuJoCo cannot draw with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {' '.join(str(error).split())}",
                    "install libegl1 and libgl1-mesa-dri, and set MUJOCO_GL=egl",
                )
            )
            raise _seen_failing[0] from None
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._looks = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        # MuJoCo ends EGL itself when the interpreter ends; a context left over would then be given back too late.
        atexit.register(self.close)

    def draw(self, data: Any, camera: str, height: int, width: int) -> Picture:
        """A picture, HWC uint8 RGB.

        Args:
            data: the model's state, a ``mujoco.MjData``.
            camera: one of the model's.
            height: rows, pixels.
            width: columns, pixels.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError("the world is drawn only in the thread that began it")
        mujoco, context = self._mujoco, self._context
        self._gl.make_current()
        if height > context.offHeight or width > context.offWidth:
            mujoco.mjr_resizeOffscreen(max(width, context.offWidth), max(height, context.offHeight), context)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model, data, self._looks, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        area = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(area, self._scene, context)
        picture = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(picture, None, area, context)
        return np.ascontiguousarray(picture[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Give the context back; twice is harmless."""
        atexit.unregister(self.close)
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = self._context = None


def _context_class() -> Any:
    """The class of OpenGL contexts that MUJOCO_GL names, though MuJoCo may have been imported before that was set."""
    if os.environ.get("MUJOCO_GL", "").strip().lower() == "egl":
        from mujoco.egl import GLContext

        return GLContext
    import mujoco

    if not hasattr(mujoco, "GLContext"):
        raise RuntimeError("it was told not to")
    return mujoco.GLContext
