"""Which solids can appear in a picture: there now, in a room in sight, inside the field of view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer.camera import Camera
from hitl_ops.worlds.household.renderer.room_sight import ALL_ROOMS
from hitl_ops.worlds.household.renderer.scene_solids import SceneSolids


def solids_in_view(solids: SceneSolids, facts: Facts, camera: Camera, width: int, height: int) -> NDArray[np.bool_]:
    """Mark what has to be drawn; never leaves out anything visible.

    Args:
        solids: the table, already following ``facts``.
        facts: the moment.
        camera: where from.
        width: pixels.
        height: pixels.

    Returns:
        bool [n], a row of ``solids.rows`` each.
    """
    planes, offsets = _sides(camera, width, height)
    beyond = solids.rows[:, :3] @ planes.T
    beyond -= offsets
    seen = (beyond < solids.radius[:, None]).all(axis=1)
    seen &= solids.drawn
    rooms = solids.sight.visible(camera, width, height, facts.doors_open)
    if rooms != ALL_ROOMS:
        seen &= (solids.rooms & np.uint64(rooms)) != 0
    if not camera.ceilings:
        seen &= ~solids.ceiling
    if camera.hidden_agent is not None:
        seen &= solids.body_of != camera.hidden_agent
    return seen


def _sides(camera: Camera, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The planes around the view: outward normals [5, 3] and how far each lies from the world's origin [5]."""
    right, up, ahead = camera.axes()
    half_width, half_height = camera.half_size(width, height)
    position = np.array(camera.position)
    if camera.extent is None:
        aside, aloft = half_width * ahead, half_height * ahead
        normals = np.array([right - aside, -right - aside, up - aloft, -up - aloft, -ahead])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        offsets = normals @ position
    else:
        normals = np.array([right, -right, up, -up, -ahead])
        offsets = normals @ position + np.array([half_width, half_width, half_height, half_height, 0.0])
    return normals.astype(np.float32), offsets.astype(np.float32)
