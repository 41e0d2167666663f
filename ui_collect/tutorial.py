"""The tutorial's task: small, always the same, and counted nowhere. It asks for a walk, an opening, a pick, a place."""

from __future__ import annotations

import math
from collections.abc import Callable

from hitl_ops.contracts.episode import Episode, Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.catalog import spoken
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.layout import scene_id
from hitl_ops.worlds.household.scene_description import Furniture, Room, SceneDescription

TUTORIAL_ID = "tutorial"
_HOME = scene_id("train", 0)  # four rooms, the smallest there is
_OBJECT = "mug"


def tutorial_episode(human: int = 0) -> Episode:
    """Take the mug out of a closed piece of kitchen furniture and put it down in another room.

    Args:
        human: the agent that starts in the kitchen, facing what is to be opened.

    Raises:
        UserError: the home it plays in has nothing to open in its kitchen; cannot happen for the shipped homes.
    """
    home = load_scene(_HOME).description
    rooms = {room.name: room for room in home.rooms}
    source = _first(home, rooms, "kitchen", lambda piece: piece.articulated and bool(piece.within_slots))
    target = _first(home, rooms, "living_room", lambda piece: not piece.articulated and bool(piece.on_slots))
    x, y, z = source.within_slots[0]
    subject = f"{_OBJECT}_1"
    start = min(home.spawns, key=lambda place: math.dist(place, (source.position[0], source.position[2])))
    elsewhere = max(home.spawns, key=lambda place: math.dist(place, start))
    yaw = math.atan2(-(source.position[2] - start[1]), source.position[0] - start[0])
    spawns = [[*elsewhere, 0.0], [*elsewhere, 0.0]]
    spawns[human] = [*start, round(yaw, 3)]
    return Episode(
        episode_id=TUTORIAL_ID,
        scene_id=home.scene_id,
        instruction=(
            f"Take the {spoken(_OBJECT)} out of the {_said(source, rooms)} and put it on the {_said(target, rooms)}."
        ),
        rigid_objs=[
            [
                f"{_OBJECT}.object_config.json",
                [[1.0, 0.0, 0.0, x], [0.0, 1.0, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]],
            ]
        ],
        name_to_receptacle={subject: f"{source.name}|within|0"},
        info={"flywheel": {"task_type": "constraint_free", "split": TUTORIAL_ID, "seed": 0, "spawns": spawns}},
        evaluation_propositions=[
            Proposition(
                function_name="is_on_top", args={"object_handles": [subject], "receptacle_handles": [target.name]}
            )
        ],
    )


def _first(home: SceneDescription, rooms: dict[str, Room], kind: str, fits: Callable[[Furniture], bool]) -> Furniture:
    for piece in home.furniture:
        if rooms[piece.room].kind == kind and fits(piece):
            return piece
    raise UserError(f"home '{home.scene_id}' has no place for the tutorial in its {kind}", "report it with the version")


def _said(piece: Furniture, rooms: dict[str, Room]) -> str:
    return f"{spoken(rooms[piece.room].kind)} {spoken(piece.kind)}"
