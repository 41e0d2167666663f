"""Drawing the reaching arm with OpenGL, off screen."""

from __future__ import annotations

import itertools
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import moderngl  # noqa: TID253 - this module is itself imported only where pictures are asked for
import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Picture
from hitl_ops.worlds.household.renderer.solids import unit_mesh
from hitl_ops.worlds.reach.views import (
    BALL,
    BALL_RADIUS,
    GROUND,
    GROUND_MIDDLE,
    GROUND_SIZE,
    HAND,
    POST_LENGTH,
    POST_RADIUS,
    SHADE,
    SPOT_HEIGHT,
    SPOT_RADII,
    Color,
    Matrix,
    View,
    arm_looks,
)

_VERTEX = """
#version 330
in vec3 position; in vec3 normal;
uniform mat4 place; uniform mat4 to_clip; uniform vec3 tint;
INTERPOLATION out vec3 color;
void main() {
    vec3 x = place[0].xyz, y = place[1].xyz, z = place[2].xyz;
    vec3 n = normalize(x * normal.x / dot(x, x) + y * normal.y / dot(y, y) + z * normal.z / dot(z, z));
    color = tint * (0.58 + 0.30 * max(n.z, 0.0) + 0.12 * n.x - 0.16 * n.y);
    gl_Position = to_clip * place * vec4(position, 1.0);
}
"""
_FRAGMENT = """
#version 330
INTERPOLATION in vec3 color;
out vec4 pixel;
void main() { pixel = vec4(color, 1.0); }
"""
_BACKGROUND = (0.93, 0.95, 0.97)
_SAMPLES = 4
_LINKS = 8


class OpenGLPictures:
    """See :class:`hitl_ops.worlds.reach.pictures.ArmDrawing`; draws in the thread that made it.

    Raises:
        UserError: this machine gives no OpenGL context.
    """

    backend = "opengl"

    def __init__(self) -> None:
        # Software GL: pictures this small are drawn faster by the calling thread alone than by waking others.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        try:
            self._gl: Any = moderngl.create_standalone_context(require=330, backend="egl")  # type: ignore[arg-type]  # its hint is wrong
        except Exception as error:  # glcontext raises bare Exception
            raise UserError(f"no OpenGL context through EGL: {error}", "install libegl1 and libgl1-mesa-dri") from None
        self._thread = threading.get_ident()
        self._programs: dict[str, Any] = {}
        for how in ("smooth", "flat"):
            vertex, fragment = (source.replace("INTERPOLATION", how) for source in (_VERTEX, _FRAGMENT))
            self._programs[how] = self._gl.program(vertex_shader=vertex, fragment_shader=fragment)
        self._things: list[tuple[Any, Any, Color]] = []
        for look in arm_looks():
            vertices, triangles = _obj_mesh(look.mesh)
            self._add("smooth", vertices, triangles, look.color)
        cylinders = [("cylinder", color) for color in (BALL, HAND, SHADE, SHADE)]
        for shape, color in (("box", GROUND), ("sphere", BALL), *cylinders):
            mesh = unit_mesh(shape)
            # A box's faces take their normals from one corner each.
            self._add("flat" if shape == "box" else "smooth", mesh.vertices, mesh.triangles, color)
        self._places: npt.NDArray[np.float32] = np.tile(np.eye(4, dtype=np.float32), (len(self._things), 1, 1))
        self._places[_LINKS] = _scaled(GROUND_SIZE, GROUND_MIDDLE)
        self._targets: dict[int, tuple[Any, Any]] = {}

    def _add(self, how: str, vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.int32], color: Color) -> None:
        content = [(self._gl.buffer(vertices.tobytes()), "3f 3f", "position", "normal")]
        program = self._programs[how]
        array = self._gl.vertex_array(program, content, self._gl.buffer(triangles.tobytes()))
        self._things.append((program, array, color))

    def pose(self, joints: Matrix, frames: Matrix, target: Matrix) -> None:
        """See :meth:`hitl_ops.worlds.reach.pictures.ArmDrawing.pose`."""
        self._places[:_LINKS] = frames
        side = 2 * BALL_RADIUS
        self._places[_LINKS + 1] = _scaled((side, side, side), target)
        for number, (x, y, z) in enumerate((target, frames[-1, :3, 3])):
            post, spot = 2 * POST_RADIUS, 2 * SPOT_RADII[number]
            self._places[_LINKS + 2 + number] = _standing((post, POST_LENGTH), (x, y, z - POST_LENGTH / 2))
            self._places[_LINKS + 4 + number] = _standing((spot, SPOT_HEIGHT), (x, y, 0.0))

    def draw(self, view: View, size: int) -> Picture:
        """See :meth:`hitl_ops.worlds.reach.pictures.ArmDrawing.draw`."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("the arm is drawn only in the thread that began it")
        matrix = view.to_clip @ view.to_eye
        matrix[1] *= -1  # rows of a GL image start at the bottom: drawn upside down
        picture = np.empty((size, size, 3), dtype=np.uint8)
        with self._gl as gl:
            smooth, plain = self._target(size)
            smooth.use()
            smooth.clear(*_BACKGROUND, depth=1.0)
            gl.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
            gl.front_face = "cw"
            for program in self._programs.values():
                program["to_clip"].write(matrix.T.astype(np.float32).tobytes())
            for (program, array, color), place in zip(self._things, self._places, strict=True):
                program["place"].write(place.T.tobytes())
                program["tint"] = color
                array.render()
            gl.copy_framebuffer(plain, smooth)
            plain.read_into(picture, components=3, alignment=1)
        return picture

    def _target(self, size: int) -> tuple[Any, Any]:
        """What to draw into, several samples a pixel, and what to read from; kept per size."""
        if size not in self._targets:
            gl, both = self._gl, (size, size)
            smooth = gl.framebuffer(
                gl.renderbuffer(both, samples=_SAMPLES), gl.depth_renderbuffer(both, samples=_SAMPLES)
            )
            self._targets[size] = smooth, gl.framebuffer(gl.renderbuffer(both))
        return self._targets[size]

    def close(self) -> None:
        """Give the context back."""
        self._gl.release()


def _scaled(size: Any, middle: Any) -> Matrix:
    matrix = np.diag([*size, 1.0])
    matrix[:3, 3] = middle
    return matrix


def _standing(size: tuple[float, float], middle: Any) -> Matrix:
    """A cylinder along z of a diameter and a length; the unit one lies along y."""
    diameter, length = size
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(((1.0, 0, 0), (0, 0, -1.0), (0, 1.0, 0))) * (diameter, length, diameter)
    matrix[:3, 3] = middle
    return matrix


@cache
def _obj_mesh(file: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """An OBJ file's triangles: [n, 6] position and normal, [m, 3]."""
    places: list[list[float]] = []
    normals: list[list[float]] = []
    corners: dict[str, int] = {}
    triangles: list[list[int]] = []
    for line in file.read_text(encoding="ascii").splitlines():
        kind, *parts = line.split() or [""]
        if kind == "v":
            places.append([float(part) for part in parts])
        elif kind == "vn":
            normals.append([float(part) for part in parts])
        elif kind == "f":
            around = [corners.setdefault(part, len(corners)) for part in parts]
            triangles += [[around[0], one, other] for one, other in itertools.pairwise(around[1:])]
    named = [corner.split("/") for corner in corners]
    vertices = [[*places[int(place) - 1], *normals[int(normal) - 1]] for place, _, normal in named]
    return np.array(vertices, dtype=np.float32), np.array(triangles, dtype=np.int32)
