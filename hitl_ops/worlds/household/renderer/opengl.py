"""Drawing with OpenGL, off screen: the machine's GPU, or Mesa's software GL where there is none.

A frame is four instanced draws (boxes, floors, cylinders, spheres). Measured with software GL on one core, vertices
cost most and waking rasteriser threads next, hence solids of few vertices, culling by room and field of view
before anything is uploaded, and no rasteriser threads for pictures this small.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import moderngl  # noqa: TID253 - this module is itself imported only where a renderer is made
import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer import appearance
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.frame import Frame
from hitl_ops.worlds.household.renderer.scene_solids import COLUMNS, SceneSolids
from hitl_ops.worlds.household.renderer.solids import SHAPES, unit_mesh
from hitl_ops.worlds.household.renderer.view_cull import solids_in_view
from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription

# Light from above and from two unequal sides: every pair of neighbouring faces of a box differs.
_VERTEX = """
#version 330
in vec3 position; in vec3 normal;
in vec4 center_cosine; in vec4 size_sine; in vec4 color_glow;
uniform mat4 to_clip;
INTERPOLATION out vec3 color;
out vec2 ground;
void main() {
    float c = center_cosine.w, s = size_sine.w;
    vec3 p = position * size_sine.xyz;
    vec3 world = vec3(c * p.x + s * p.z, p.y, c * p.z - s * p.x) + center_cosine.xyz;
    vec3 n = vec3(c * normal.x + s * normal.z, normal.y, c * normal.z - s * normal.x);
    float light = 0.78 + 0.22 * max(n.y, 0.0) + 0.07 * n.x + 0.14 * max(n.z, 0.0) + 0.05 * min(n.z, 0.0);
    color = color_glow.rgb * mix(light, 1.0, color_glow.a);
    ground = world.xz;
    gl_Position = to_clip * vec4(world, 1.0);
}
"""
_FRAGMENT = """
#version 330
INTERPOLATION in vec3 color;
out vec4 pixel;
void main() { pixel = vec4(color, 1.0); }
"""
# Floors carry faint tiles, so that motion and distance can be seen.
_FLOOR_FRAGMENT = """
#version 330
INTERPOLATION in vec3 color; in vec2 ground;
out vec4 pixel;
void main() {
    vec2 tile = floor(ground * 2.0);
    pixel = vec4(color * (0.955 + 0.045 * mod(tile.x + tile.y, 2.0)), 1.0);
}
"""

_of_thread = threading.local()


class _Context:
    """A GL context with its programs and unit meshes; one per process and thread, shared by its renderers."""

    def __init__(self) -> None:
        # Software GL: pictures this small are drawn faster by the calling thread alone than by waking others.
        os.environ.setdefault("LP_NUM_THREADS", "0")
        self.process = os.getpid()
        try:
            self.gl = moderngl.create_standalone_context(require=330, backend="egl")  # type: ignore[arg-type]  # its hint is wrong
        except Exception as error:  # glcontext raises bare Exception
            raise UserError(
                f"no OpenGL context through EGL: {error}",
                "install libegl1 and libgl1-mesa-dri, or use the renderer backend 'pybullet'",
            ) from error
        self.name = str(self.gl.info["GL_RENDERER"])
        flat, tiled, smooth = (
            self._program(how, fragment)
            for how, fragment in (("flat", _FRAGMENT), ("smooth", _FLOOR_FRAGMENT), ("smooth", _FRAGMENT))
        )
        self.to_clip: list[Any] = [program["to_clip"] for program in (flat, tiled, smooth)]
        program_of = {"box": flat, "floor": tiled, "cylinder": smooth, "sphere": smooth}
        self.shapes = []
        for shape in SHAPES:
            mesh = unit_mesh(shape)
            vertices, indices = self.gl.buffer(mesh.vertices.tobytes()), self.gl.buffer(mesh.triangles.tobytes())
            self.shapes.append((program_of[shape], vertices, indices))
        self._targets: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def _program(self, interpolation: str, fragment: str) -> moderngl.Program:
        sources = [source.replace("INTERPOLATION", interpolation) for source in (_VERTEX, fragment)]
        return self.gl.program(vertex_shader=sources[0], fragment_shader=sources[1])

    def target(self, width: int, height: int) -> moderngl.Framebuffer:
        """What to draw into; kept per size."""
        found = self._targets.get((width, height))
        if found is None:
            size = (width, height)
            found = self.gl.framebuffer(self.gl.renderbuffer(size), self.gl.depth_renderbuffer(size))
            self._targets[size] = found
        return found


def _context() -> _Context:
    context = getattr(_of_thread, "context", None)
    if context is None or context.process != os.getpid():
        context = _Context()
        _of_thread.context = context
    return context


class OpenGLRenderer:
    """See ``Renderer``."""

    backend = "opengl"

    def __init__(self, description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> None:
        """Prepare to draw a home.

        Args:
            description: the home.
            shapes: object kind → shape.

        Raises:
            UserError: this machine gives no OpenGL context.
        """
        self._context = _context()
        self.device = self._context.name
        self._solids = SceneSolids(description, shapes)
        self._thread = threading.get_ident()
        self._instances: list[moderngl.Buffer] = []
        self._arrays: list[moderngl.VertexArray] = []

    def render(self, facts: Facts, camera: Camera, width: int, height: int, depth: bool = True) -> Frame:
        """See ``Renderer.render``."""
        if threading.get_ident() != self._thread or os.getpid() != self._context.process:
            raise RuntimeError("a renderer draws only in the process and thread that made it")
        solids, gl = self._solids, self._context.gl
        solids.follow(facts)
        chosen = np.flatnonzero(solids_in_view(solids, facts, camera, width, height))
        rows = solids.rows[chosen]
        splits = np.searchsorted(chosen, solids.bounds).tolist()
        with gl:
            target = self._context.target(width, height)
            self._reserve(len(solids.rows))
            target.use()
            target.clear(*appearance.BACKGROUND, depth=1.0)
            # Rows of a GL image start at the bottom: drawing upside down saves turning the picture over.
            gl.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
            gl.front_face = "cw"
            to_clip = camera.projection_matrix(width, height) @ camera.view_matrix()
            to_clip[1] *= -1
            matrix = to_clip.T.astype(np.float32).tobytes()
            for uniform in self._context.to_clip:
                uniform.write(matrix)
            for number, array in enumerate(self._arrays):
                first, last = splits[number], splits[number + 1]
                if last > first:
                    self._instances[number].write(rows[first:last])
                    array.render(instances=last - first)
            rgb = np.empty((height, width, 3), dtype=np.uint8)
            target.read_into(rgb, components=3, alignment=1)
            if not depth:
                return Frame(rgb, None)
            metres = np.empty((height, width), dtype=np.float32)
            target.read_into(metres, attachment=-1, dtype="f4")
        return Frame(rgb, camera.metres(metres))

    def _reserve(self, count: int) -> None:
        """Make room for ``count`` instances of each solid."""
        needed = count * COLUMNS * 4
        if self._instances and self._instances[0].size >= needed:
            return
        self._release()
        layout: Any = "4f 4f 4f /i"
        for program, vertices, indices in self._context.shapes:
            buffer = self._context.gl.buffer(reserve=needed, dynamic=True)
            content = [
                (vertices, "3f 3f", "position", "normal"),
                (buffer, layout, "center_cosine", "size_sine", "color_glow"),
            ]
            self._instances.append(buffer)
            self._arrays.append(self._context.gl.vertex_array(program, content, indices))

    def _release(self) -> None:
        for array in self._arrays:
            array.release()
        for buffer in self._instances:
            buffer.release()
        self._arrays, self._instances = [], []

    def close(self) -> None:
        """See ``Renderer.close``."""
        if self._context.process == os.getpid():
            with self._context.gl:
                self._release()
