"""Where a picture is taken from: an agent's eyes, or straight above the home."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

EYE_HEIGHT = 1.5
"""Height of an agent's eyes above the floor, metres."""

DOWNWARD_GLANCE = math.radians(-18.0)
"""An agent looks a little down: what stands on a table an arm's length away is then in its view."""

_PLAN_MARGIN = 0.3


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole or orthographic camera without roll.

    Attributes:
        position: x, y, z in metres.
        yaw: radians about +y; 0 looks along +x, positive turns towards -z.
        pitch: radians; negative looks down, -π/2 straight down (then ``yaw`` is where the image's top points).
        fov: horizontal field of view in degrees, of a pinhole camera.
        extent: None for a pinhole camera; an orthographic one shows at least this (width, height) in metres.
        near: nothing closer is drawn, metres.
        far: nothing farther is drawn, metres; also the depth of pixels where nothing is.
        hidden_agent: the agent that is not drawn (whose eyes these are), what it holds excepted.
        ceilings: whether ceilings, and what is above doorways, are drawn.
    """

    position: Vec3
    yaw: float
    pitch: float = 0.0
    fov: float = 90.0
    extent: tuple[float, float] | None = None
    near: float = 0.05
    far: float = 60.0
    hidden_agent: int | None = None
    ceilings: bool = True

    @classmethod
    def of_agent(cls, facts: Facts, agent: int, fov: float = 90.0, pitch: float = DOWNWARD_GLANCE) -> Camera:
        """What an agent sees.

        Args:
            facts: the moment.
            agent: index of the agent.
            fov: horizontal field of view in degrees.
            pitch: radians; negative looks down.
        """
        here = facts.agents[agent]
        return cls((here.x, EYE_HEIGHT, here.z), here.yaw, pitch=pitch, fov=fov, hidden_agent=agent)

    @classmethod
    def topdown(cls, description: SceneDescription) -> Camera:
        """The whole home from above, without ceilings; +x points right and +z down in the image."""
        x0, z0, x1, z1 = home_bounds(description)
        height = max((wall.height for wall in description.walls), default=2.4) + 1.0
        extent = (x1 - x0 + 2 * _PLAN_MARGIN, z1 - z0 + 2 * _PLAN_MARGIN)
        middle = ((x0 + x1) / 2, height, (z0 + z1) / 2)
        return cls(middle, math.pi / 2, pitch=-math.pi / 2, extent=extent, near=0.1, far=height + 1.0, ceilings=False)

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Unit vectors to the image's right, to its top and into it, in the world's frame."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        level, rise = math.cos(self.pitch), math.sin(self.pitch)
        right = np.array((sine, 0.0, cosine))
        forward = np.array((level * cosine, rise, -level * sine))
        up = np.array((-rise * cosine, level, rise * sine))
        return right, up, forward

    def half_size(self, width: int, height: int) -> tuple[float, float]:
        """Half of what an image of these pixels shows: metres if orthographic, else tangents of half the angles."""
        if self.extent is None:
            tangent = math.tan(math.radians(self.fov) / 2)
            return tangent, tangent * height / width
        metres_per_pixel = max(self.extent[0] / width, self.extent[1] / height)
        return metres_per_pixel * width / 2, metres_per_pixel * height / 2

    def view_matrix(self) -> NDArray[np.float64]:
        """World to eye, [4, 4], for column vectors (eye: +x right, +y up, looking along -z)."""
        right, up, forward = self.axes()
        matrix = np.eye(4)
        matrix[:3, :3] = right, up, -forward
        matrix[:3, 3] = -matrix[:3, :3] @ np.array(self.position)
        return matrix

    def projection_matrix(self, width: int, height: int) -> NDArray[np.float64]:
        """Eye to clip space, [4, 4], OpenGL's convention (depth -1 … 1)."""
        half_width, half_height = self.half_size(width, height)
        near, far = self.near, self.far
        matrix = np.zeros((4, 4))
        matrix[0, 0], matrix[1, 1] = 1 / half_width, 1 / half_height
        if self.extent is None:
            matrix[2, 2], matrix[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
            matrix[3, 2] = -1.0
        else:
            matrix[2, 2], matrix[2, 3] = -2 / (far - near), -(far + near) / (far - near)
            matrix[3, 3] = 1.0
        return matrix

    def metres(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn a depth buffer (0 near … 1 far) into metres along the view axis, in place.

        Args:
            depth: float32 [h, w].

        Returns:
            The same array.
        """
        near, far = self.near, self.far
        if self.extent is None:
            np.subtract(far / (far - near), depth, out=depth)
            np.divide(near * far / (far - near), depth, out=depth)
        else:
            np.multiply(depth, far - near, out=depth)
            np.add(depth, near, out=depth)
        return depth

    def pixel(self, point: Vec3, width: int, height: int) -> tuple[float, float] | None:
        """Where a point of the world falls in an image, (column, row); None behind a pinhole camera."""
        eye = self.view_matrix() @ np.array((*point, 1.0))
        scale = 1.0 if self.extent is not None else -eye[2]
        if scale <= 0:
            return None
        half_width, half_height = self.half_size(width, height)
        column = (eye[0] / scale / half_width + 1) / 2 * width
        row = (1 - eye[1] / scale / half_height) / 2 * height
        return float(column), float(row)


def home_bounds(description: SceneDescription) -> tuple[float, float, float, float]:
    """x0, z0, x1, z1 of the rectangle around all rooms, metres."""
    bounds = np.array([room.bounds for room in description.rooms])
    x0, z0 = bounds[:, :2].min(axis=0).tolist()
    x1, z1 = bounds[:, 2:].max(axis=0).tolist()
    return x0, z0, x1, z1
