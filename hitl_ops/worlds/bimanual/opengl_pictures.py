"""Drawing the station with OpenGL, off screen: every solid in two instanced draws, and their shadows on the table."""

from __future__ import annotations

import os
import threading
from typing import Any

import moderngl  # noqa: TID253 - this module is itself imported only where pictures are asked for
import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture
from hitl_ops.worlds.bimanual import geometry
from hitl_ops.worlds.bimanual.views import VIEWS, Poses, projection_matrix, rotations, view_matrix
from hitl_ops.worlds.household.renderer.solids import unit_mesh

_VERTEX = """
#version 330
in vec3 position; in vec3 normal;
in vec3 axis_x; in vec3 axis_y; in vec3 axis_z; in vec3 center; in vec3 tint;
uniform mat4 to_clip;
uniform bool shadow;
INTERPOLATION out vec3 color;
out vec2 ground;
void main() {
    vec3 world = axis_x * position.x + axis_y * position.y + axis_z * position.z + center;
    vec3 n = normalize(axis_x * normal.x / dot(axis_x, axis_x) + axis_y * normal.y / dot(axis_y, axis_y)
        + axis_z * normal.z / dot(axis_z, axis_z));
    float light = 0.62 + 0.34 * max(n.z, 0.0) + 0.10 * n.x + 0.12 * n.y;
    color = shadow ? vec3(0.52, 0.43, 0.32) : tint * light;
    if (shadow) world = vec3(world.xy + vec2(0.25, -0.30) * max(world.z, 0.0), 0.0006);
    ground = world.xy;
    gl_Position = to_clip * vec4(world, 1.0);
}
"""
_FRAGMENT = """
#version 330
INTERPOLATION in vec3 color;
in vec2 ground;
uniform bool shadow;
uniform vec4 table;
out vec4 pixel;
void main() {
    if (shadow && (any(lessThan(ground, table.xy)) || any(greaterThan(ground, table.zw)))) discard;
    pixel = vec4(color, 1.0);
}
"""
_BACKGROUND = (0.80, 0.84, 0.88)
_SAMPLES = 4


class _Solids:
    """All solids of one shape: whose they are, and their place in their links' frames."""

    def __init__(self, shape: str) -> None:
        self.links: list[tuple[str, int]] = []
        axes, centers, colors = [], [], []
        for body, link, part in _parts():
            if part.shape != shape or not part.seen:
                continue
            self.links.append((body, link))
            turned = _of_rpy(part.rpy)
            if shape == "cylinder":
                # The unit cylinder stands along y, a part's along z; the sign keeps its outside outside.
                turned = turned @ np.array(((1.0, 0, 0), (0, 0, -1.0), (0, 1.0, 0)))
                diameter, _, length = part.size
                turned = turned * np.array((diameter, length, diameter))
            else:
                turned = turned * np.array(part.size)
            axes.append(turned)
            centers.append(part.center)
            colors.append(part.color)
        self.axes = np.array(axes)
        self.centers = np.array(centers)
        self.rows: Float32 = np.empty((len(axes), 15), dtype=np.float32)
        self.rows[:, 12:] = colors
        # Scenery comes first: it casts no shadow on itself.
        self.scenery = sum(body == "scenery" for body, _ in self.links)

    def follow(
        self, order: dict[tuple[str, int], int], turns: NDArray[np.float64], places: NDArray[np.float64]
    ) -> None:
        """Move every solid with its link."""
        own = [order[link] for link in self.links]
        rotation = turns[own]
        self.rows[:, :9] = (rotation @ self.axes).transpose(0, 2, 1).reshape(-1, 9)
        self.rows[:, 9:12] = (rotation @ self.centers[:, :, None])[:, :, 0] + places[own]


def _parts() -> list[tuple[str, int, geometry.Part]]:
    found = [("scenery", 0, part) for part in geometry.scenery_parts()]
    for side in geometry.SIDES:
        for number, link in enumerate(geometry.arm_links(side)):
            found += [(side, number, part) for part in link.parts]
    found += [("bowl", 0, part) for part in geometry.bowl_parts()]
    found += [("lid", 0, part) for part in geometry.lid_parts()]
    return found


def _of_rpy(rpy: geometry.Vec3) -> NDArray[np.float64]:
    """The rotation of URDF's roll, pitch and yaw."""
    (roll_cos, pitch_cos, yaw_cos), (roll_sin, pitch_sin, yaw_sin) = np.cos(rpy), np.sin(rpy)
    roll = np.array(((1, 0, 0), (0, roll_cos, -roll_sin), (0, roll_sin, roll_cos)))
    pitch = np.array(((pitch_cos, 0, pitch_sin), (0, 1, 0), (-pitch_sin, 0, pitch_cos)))
    yaw = np.array(((yaw_cos, -yaw_sin, 0), (yaw_sin, yaw_cos, 0), (0, 0, 1)))
    return yaw @ pitch @ roll


class OpenGLPictures:
    """See :class:`hitl_ops.worlds.bimanual.pictures.StationPictures`; draws in the thread that made it.

    Args:
        smooth_edges: whether a pixel is the mean of several samples.

    Raises:
        UserError: this machine gives no OpenGL context.
    """

    backend = "opengl"

    def __init__(self, smooth_edges: bool = False) -> None:
        self._samples = _SAMPLES if smooth_edges else 0
        # Software GL: pictures this small are drawn faster by the calling thread alone than by waking others.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        try:
            self._gl = moderngl.create_standalone_context(require=330, backend="egl")  # type: ignore[arg-type]  # its hint is wrong
        except Exception as error:  # glcontext raises bare Exception
            raise UserError(f"no OpenGL context through EGL: {error}", "install libegl1 and libgl1-mesa-dri") from None
        self._thread = threading.get_ident()
        self._solids = [_Solids("box"), _Solids("cylinder")]
        self._programs: list[Any] = []
        self._arrays: list[Any] = []
        self._buffers: list[Any] = []
        (length, width, _), (x, y, _) = geometry.scenery_parts()[0].size, geometry.scenery_parts()[0].center
        for solids, shape, how in zip(self._solids, ("box", "cylinder"), ("flat", "smooth"), strict=True):
            sources = [source.replace("INTERPOLATION", how) for source in (_VERTEX, _FRAGMENT)]
            program = self._gl.program(vertex_shader=sources[0], fragment_shader=sources[1])
            program["table"] = (x - length / 2, y - width / 2, x + length / 2, y + width / 2)
            mesh = unit_mesh(shape)
            buffer = self._gl.buffer(reserve=solids.rows.nbytes, dynamic=True)
            names = ("axis_x", "axis_y", "axis_z", "center", "tint")
            content: Any = [
                (self._gl.buffer(mesh.vertices.tobytes()), "3f 3f", "position", "normal"),
                (buffer, "3f 3f 3f 3f 3f /i", *names),
            ]
            indices = self._gl.buffer(mesh.triangles.tobytes())
            self._arrays.append(self._gl.vertex_array(program, content, indices))
            self._programs.append(program)
            self._buffers.append(buffer)
        self._targets: dict[tuple[int, int], tuple[moderngl.Framebuffer, moderngl.Framebuffer]] = {}

    def draw(self, camera: str, poses: Poses, height: int, width: int) -> Picture:
        """See :meth:`hitl_ops.worlds.bimanual.pictures.StationPictures.draw`."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("the station is drawn only in the thread that began it")
        self._follow(poses)
        view = VIEWS[camera]
        matrix = projection_matrix(view, height, width) @ view_matrix(view, poses)
        matrix[1] *= -1  # rows of a GL image start at the bottom: drawn upside down
        to_clip = matrix.T.astype(np.float32).tobytes()
        picture = np.empty((height, width, 3), dtype=np.uint8)
        with self._gl as gl:
            smooth, plain = self._target(height, width)
            smooth.use()
            smooth.clear(*_BACKGROUND, depth=1.0)
            gl.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
            gl.front_face = "cw"
            for program in self._programs:
                program["to_clip"].write(to_clip)
            self._draw_all(shadow=False)
            # A shadow is flat, so both sides of what casts it are drawn.
            gl.enable_only(moderngl.DEPTH_TEST)
            self._draw_all(shadow=True)
            gl.copy_framebuffer(plain, smooth)
            plain.read_into(picture, components=3, alignment=1)
        return picture

    def _draw_all(self, shadow: bool) -> None:
        for solids, program, array, buffer in zip(
            self._solids, self._programs, self._arrays, self._buffers, strict=True
        ):
            program["shadow"] = shadow
            rows = solids.rows[solids.scenery :] if shadow else solids.rows
            buffer.write(np.ascontiguousarray(rows))
            array.render(instances=len(rows))

    def _follow(self, poses: Poses) -> None:
        """Move the solids to where their links are."""
        order = {("scenery", 0): 0}
        places: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]
        turns: list[tuple[float, float, float, float]] = [(0.0, 0.0, 0.0, 1.0)]
        for body, links in poses.items():
            for number, (place, turn) in enumerate(links):
                order[(body, number)] = len(places)
                places.append(place)
                turns.append(turn)
        rotation, where = rotations(np.array(turns)), np.array(places)
        for solids in self._solids:
            solids.follow(order, rotation, where)

    def _target(self, height: int, width: int) -> tuple[moderngl.Framebuffer, moderngl.Framebuffer]:
        """What to draw into, several samples a pixel, and what to read from; kept per size."""
        found = self._targets.get((height, width))
        if found is None:
            gl, size = self._gl, (width, height)
            smooth = gl.framebuffer(
                gl.renderbuffer(size, samples=self._samples), gl.depth_renderbuffer(size, samples=self._samples)
            )
            found = (smooth, gl.framebuffer(gl.renderbuffer(size)))
            self._targets[(height, width)] = found
        return found

    def close(self) -> None:
        """Give the context back."""
        self._gl.release()
