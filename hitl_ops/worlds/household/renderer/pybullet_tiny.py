"""Drawing with PyBullet's TinyRenderer, for machines without OpenGL: slower, needs nothing but the CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pybullet  # noqa: TID253 - this module is itself imported only where a renderer is made
from numpy.typing import NDArray

from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.frame import Frame
from hitl_ops.worlds.household.renderer.scene_solids import SceneSolids
from hitl_ops.worlds.household.renderer.solids import SHAPES, unit_mesh
from hitl_ops.worlds.household.renderer.view_cull import solids_in_view
from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription
from hitl_ops.worlds.quiet_physics import connect_quietly

_AFAR = 2_000.0
_AWAY = (0.0, 10_000.0, 0.0)  # TinyRenderer has no switch to hide a body: it stands beyond every far plane


def _from_afar(camera: Camera, width: int, height: int) -> Camera:
    """An orthographic camera as a pinhole so far back that no pixel differs; TinyRenderer knows pinholes only."""
    _, _, ahead = camera.axes()
    x, y, z = (np.array(camera.position) - _AFAR * ahead).tolist()
    fov = math.degrees(2 * math.atan(camera.half_size(width, height)[0] / (_AFAR + camera.far / 2)))
    return replace(camera, position=(x, y, z), fov=fov, extent=None, near=camera.near + _AFAR, far=camera.far + _AFAR)


class PyBulletRenderer:
    """See ``Renderer``."""

    backend = "pybullet"

    def __init__(self, description: SceneDescription, shapes: Mapping[str, ObjectShape]) -> None:
        """Prepare to draw a home.

        Args:
            description: the home.
            shapes: object kind → shape.
        """
        self._solids = SceneSolids(description, shapes)
        self._client: int | None = connect_quietly(pybullet)
        self._bodies: list[int] = []
        self._sizes: NDArray[np.float32] = np.empty((0, 3), dtype=np.float32)

    def render(self, facts: Facts, camera: Camera, width: int, height: int, depth: bool = True) -> Frame:
        """See ``Renderer.render``."""
        if self._client is None:
            raise RuntimeError("the renderer is closed")
        self._solids.follow(facts)
        self._match(solids_in_view(self._solids, facts, camera, width, height))
        drawn_from = camera if camera.extent is None else _from_afar(camera, width, height)
        projection = drawn_from.projection_matrix(width, height)
        # TinyRenderer samples pixels at their lower left corners, OpenGL in their middles.
        projection[0] -= projection[3] / width
        projection[1] -= projection[3] / height
        _, _, pixels, buffer, _ = pybullet.getCameraImage(
            width,
            height,
            viewMatrix=drawn_from.view_matrix().T.ravel().tolist(),
            projectionMatrix=projection.T.ravel().tolist(),
            lightDirection=(0.35, 1.0, 0.6),
            lightColor=(1.0, 1.0, 1.0),
            lightDistance=20.0,
            lightAmbientCoeff=0.72,
            lightDiffuseCoeff=0.33,
            lightSpecularCoeff=0.0,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )
        rgb = np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[..., :3])
        if not depth:
            return Frame(rgb, None)
        metres = drawn_from.metres(np.array(buffer, dtype=np.float32).reshape(height, width))
        metres -= drawn_from.far - camera.far
        return Frame(rgb, metres)

    def _match(self, seen: NDArray[np.bool_]) -> None:
        """Move, colour and hide PyBullet's bodies until they match the table."""
        rows = self._solids.rows
        if rows.shape[0] != len(self._bodies) or not np.array_equal(rows[:, 4:7], self._sizes):
            self._create(rows)
        stale = np.flatnonzero((seen != self._shown) | (seen & (rows != self._applied).any(axis=1)))
        for index in stale.tolist():
            row, body = rows[index], self._bodies[index]
            if not seen[index]:
                pybullet.resetBasePositionAndOrientation(body, _AWAY, (0, 0, 0, 1), physicsClientId=self._client)
                continue
            half = math.atan2(row[7], row[3]) / 2
            pybullet.resetBasePositionAndOrientation(
                body, row[:3].tolist(), (0.0, math.sin(half), 0.0, math.cos(half)), physicsClientId=self._client
            )
            if (row[8:11] != self._applied[index, 8:11]).any():
                pybullet.changeVisualShape(body, -1, rgbaColor=(*row[8:11].tolist(), 1.0), physicsClientId=self._client)
            self._applied[index] = row
        self._shown[stale] = seen[stale]

    def _create(self, rows: NDArray[np.float32]) -> None:
        pybullet.resetSimulation(physicsClientId=self._client)
        self._bodies = []
        for number, shape in enumerate(SHAPES):
            mesh = unit_mesh(shape)
            for row in rows[self._solids.bounds[number] : self._solids.bounds[number + 1]]:
                size = row[4:7].tolist()
                common = {"rgbaColor": (*row[8:11].tolist(), 1.0), "physicsClientId": self._client}
                if shape in ("box", "floor"):
                    half = [value / 2 for value in size]
                    visual = pybullet.createVisualShape(pybullet.GEOM_BOX, halfExtents=half, **common)
                else:
                    visual = pybullet.createVisualShape(
                        pybullet.GEOM_MESH,
                        vertices=(mesh.vertices[:, :3] * size).tolist(),
                        normals=mesh.vertices[:, 3:].tolist(),
                        indices=mesh.triangles.ravel().tolist(),
                        **common,
                    )
                self._bodies.append(pybullet.createMultiBody(0, -1, visual, _AWAY, physicsClientId=self._client))
        self._sizes = rows[:, 4:7].copy()
        self._applied = rows.copy()
        self._applied[:, :8] = np.nan  # no pose has been set yet
        self._shown = np.zeros(len(rows), dtype=bool)

    def close(self) -> None:
        """See ``Renderer.close``."""
        if self._client is not None:
            pybullet.disconnect(physicsClientId=self._client)
            self._client = None
