"""The station's bodies in the physics: loaded from their parts, weighed and roughened for an episode."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hitl_ops.worlds.bimanual import geometry
from hitl_ops.worlds.bimanual.episode_setup import EpisodeSetup
from hitl_ops.worlds.bimanual.geometry import Vec3
from hitl_ops.worlds.bimanual.urdf import body_urdf, chain_urdf

_FINGERS = (6, 7)


@dataclass(frozen=True, slots=True)
class Bodies:
    """PyBullet's numbers of the bodies."""

    left: int
    right: int
    bowl: int
    lid: int


def load_bodies(bullet: Any, client: int, setup: EpisodeSetup) -> Bodies:
    """Put table, arms, bowl and lid into an empty simulation.

    Args:
        bullet: the physics module.
        client: the simulation.
        setup: where the bowl stands, weights and frictions.
    """

    def load(name: str, place: Vec3 = (0, 0, 0), yaw: float = 0, fixed: bool = False) -> int:
        body: int = bullet.loadURDF(
            str(_models() / f"{name}.urdf"),
            place,
            (0, 0, math.sin(yaw / 2), math.cos(yaw / 2)),
            useFixedBase=fixed,
            # A body without joints needs none of the solver's machinery for chains: a fifth less time.
            useMaximalCoordinates=name not in ("left", "right"),
            physicsClientId=client,
        )
        return body

    table = load("scenery", fixed=True)
    left = load("left", (geometry.BASE_X, geometry.BASE_Y, 0), fixed=True)
    right = load("right", (geometry.BASE_X, -geometry.BASE_Y, 0), fixed=True)
    x, y = setup.bowl_x, setup.bowl_y
    # A hair above where they will rest: what begins inside something else is thrown out of it.
    bowl = load("bowl", (x, y, 0.0005), setup.bowl_yaw)
    lid = load("lid", (x, y, 0.001 + geometry.LID_SEAT_HEIGHT), setup.lid_yaw)

    def change(body: int, link: int = -1, **dynamics: float) -> None:
        bullet.changeDynamics(body, link, physicsClientId=client, **dynamics)

    # Two surfaces' coefficients of friction multiply: table and fingers are 1.
    change(table, lateralFriction=1.0)
    change(bowl, mass=setup.bowl_mass, lateralFriction=setup.table_friction)
    change(
        lid, mass=setup.lid_mass, lateralFriction=setup.knob_friction, rollingFriction=0.0005, spinningFriction=0.002
    )
    for arm in (left, right):
        for finger in _FINGERS:
            change(arm, finger, lateralFriction=1.0, spinningFriction=0.01)
    return Bodies(left, right, bowl, lid)


@cache
def _models() -> Path:
    """A folder with the bodies as URDF files, which is how PyBullet takes them; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="flywheel-bimanual-")
    _kept.append(folder)
    texts = {
        "left": chain_urdf("left", geometry.arm_links("left")),
        "right": chain_urdf("right", geometry.arm_links("right")),
        "bowl": body_urdf("bowl", 0.4, geometry.bowl_parts(), geometry.BOWL_MIDDLE),
        "lid": body_urdf("lid", 0.2, geometry.lid_parts(), (0.0, 0.0, 0.0)),
        "scenery": body_urdf("scenery", 0.0, geometry.scenery_parts(), (0.0, 0.0, 0.0)),
    }
    for name, text in texts.items():
        Path(folder.name, f"{name}.urdf").write_text(text, encoding="utf-8")
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []
