"""What pictures of the reaching arm show, and from where: colours, sizes and cameras, whatever draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Color = tuple[float, float, float]
Vec3 = tuple[float, float, float]

BALL_RADIUS = 0.05
"""Metres; a hand this near has reached the target."""
BALL, HAND, GROUND, SHADE = (0.84, 0.10, 0.12), (0.0, 0.62, 0.38), (0.80, 0.83, 0.86), (0.42, 0.46, 0.50)
POST_RADIUS, POST_LENGTH = 0.003, 2.0
"""Posts hang from ball and hand, as long as anything is high; the ground hides what is too long."""
SPOT_RADII, SPOT_HEIGHT = (BALL_RADIUS, 0.02), 0.004
"""Spots lie on the ground below ball and hand."""
GROUND_SIZE, GROUND_MIDDLE = (2.4, 2.4, 0.01), (0.3, 0.0, -0.005)
_NEAR, _FAR = 0.2, 6.0


@dataclass(frozen=True)
class View:
    """Where a picture is taken from; metres.

    Attributes:
        name: as written into it.
        eye: where the camera stands.
        middle: what it looks at.
        up: what is above in the picture.
        angle: degrees from its lower edge to its upper one.
    """

    name: str
    eye: Vec3
    middle: Vec3
    up: Vec3
    angle: float

    @cached_property
    def to_eye(self) -> Matrix:
        """World to eye, [4, 4], for column vectors (eye: +x right, +y up, looking along -z)."""
        eye, middle, up = np.array(self.eye), np.array(self.middle), np.array(self.up)
        ahead = (middle - eye) / np.linalg.norm(middle - eye)
        right = np.cross(ahead, up)
        right /= np.linalg.norm(right)
        matrix = np.eye(4)
        matrix[:3, :3] = right, np.cross(right, ahead), -ahead
        matrix[:3, 3] = -matrix[:3, :3] @ eye
        return matrix

    @cached_property
    def to_clip(self) -> Matrix:
        """Eye to clip space, [4, 4], OpenGL's convention; the picture is square."""
        half = math.tan(math.radians(self.angle) / 2)
        matrix = np.zeros((4, 4))
        matrix[0, 0] = matrix[1, 1] = 1 / half
        matrix[2, 2:] = -(_FAR + _NEAR) / (_FAR - _NEAR), -2 * _FAR * _NEAR / (_FAR - _NEAR)
        matrix[3, 2] = -1
        return matrix

    def on_picture(
        self, place: npt.NDArray[np.float64], radius: float, size: float
    ) -> tuple[float, float, float] | None:
        """Column, row and radius of a ball in pixels; None where it is not before the camera.

        Args:
            place: of its middle, [3] m.
            radius: metres.
            size: pixels from edge to edge of the picture.
        """
        seen = self.to_eye @ np.append(place, 1.0)
        if seen[2] > -_NEAR:
            return None
        across, up, _, depth = self.to_clip @ seen
        column, row = (1 + across / depth) * size / 2, (1 - up / depth) * size / 2
        return float(column), float(row), float(self.to_clip[1, 1] * radius / depth * size / 2)


# Far away and narrow: things look nearly equally large wherever they are.
VIEWS = (
    View("side", (0.95, -3.0, 1.15), (0.33, 0.0, 0.56), (0, 0, 1), 27.0),
    View("above", (0.33, 0.0, 3.9), (0.33, 0.0, 0.4), (0, 1, 0), 25.0),
)


@dataclass(frozen=True, slots=True)
class LinkLook:
    """How a link looks.

    Attributes:
        mesh: its OBJ file.
        color: red, green, blue, 0 to 1.
    """

    mesh: Path
    color: Color


def arm_file() -> Path:
    """The arm's URDF."""
    import pybullet_data

    return Path(pybullet_data.getDataPath()) / "kuka_iiwa" / "model.urdf"


def arm_looks() -> list[LinkLook]:
    """How the arm's links look, the base first, as its URDF says."""
    file = arm_file()
    robot = ElementTree.parse(file).getroot()
    colors: dict[str, Color] = {}
    for material in robot.iterfind("material"):
        for color in material.iterfind("color"):
            red, green, blue, _ = (float(part) for part in color.attrib["rgba"].split())
            colors[material.attrib["name"]] = red, green, blue
    meshes = [mesh.attrib["filename"] for mesh in robot.iterfind("link/visual/geometry/mesh")]
    painted = [material.attrib["name"] for material in robot.iterfind("link/visual/material")]
    return [LinkLook(file.parent / mesh, colors[name]) for mesh, name in zip(meshes, painted, strict=True)]
