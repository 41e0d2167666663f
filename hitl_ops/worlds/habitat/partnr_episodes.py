"""PARTNR's episodes in the homes that their scenes become: the same handles, as our worlds spell them.

PARTNR names things by habitat-sim's instance handles (``Cup_7_:0000``), and places objects on receptacles by
transforms; our worlds name objects by kind and number (``cup_1``) and place them on a furniture's numbered slots.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from hitl_ops.contracts.episode import Episode, Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet, check_episode
from hitl_ops.worlds.habitat.worker import scene_name
from hitl_ops.worlds.household.catalog import OBJECTS
from hitl_ops.worlds.household.kinematic_scene import is_home
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

_OBJECT_CONFIG = ".object_config.json"
_ROOM_ARGUMENTS = {"room_ids"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def check_episodes(episodes: Iterable[Episode], scenes: SceneConfig) -> None:
    """Find out before anything is started whether episodes can be played at all where they are to be played.

    Args:
        episodes: ours, of which nothing is asked, or PARTNR's.
        scenes: what they are to be played in.

    Raises:
        UserError: an episode needs a scene data set and none is named; something it needs is missing, with its path;
            or one of its objects is of no kind that the household knows.
    """
    data: SceneDataSet | None = None
    for episode in episodes:
        if is_home(episode.scene_id):
            continue
        where = f"episode '{episode.episode_id}'"
        if scenes.kind == "kinematic" or not scenes.habitat.scene_dataset:
            raise UserError(
                f"{where}: scene asset '{episode.scene_id}' is missing",
                "it is no generated Flywheel home; set scene.kind=habitat, and scene.habitat.scene_dataset to its "
                "scene data set",
            )
        for handle in _object_handles(episode, where):
            _known_kind(handle, where)
        if scenes.habitat.backend == "habitat":
            data = data or SceneDataSet(scenes.habitat.scene_dataset)
            check_episode(episode, data)


def episode_to_play(episode: Episode, home: SceneDescription) -> Episode:
    """An episode as our worlds play it: ours as it is, PARTNR's by :func:`episode_in_home`.

    Raises:
        UserError: see there.
    """
    return episode if is_home(episode.scene_id) else episode_in_home(episode, home)


def episode_in_home(episode: Episode, home: SceneDescription) -> Episode:
    """An episode of PARTNR's as our worlds play it in the home that its scene became.

    Each object starts on the slot of its receptacle that is nearest to where the episode has it, one object a slot.

    Args:
        episode: as PARTNR's files have it.
        home: its scene, described.

    Returns:
        The episode with its things renamed; what it asks for is unchanged.

    Raises:
        UserError: the home lacks something that the episode names, or an object is of no kind that the household
            knows; with its handle.
    """
    where = f"episode '{episode.episode_id}'"
    handles = _object_handles(episode, where)
    names, numbers = {}, Counter[str]()
    for handle in handles:
        kind = _known_kind(handle, where)
        numbers[kind] += 1
        names[handle] = f"{kind}_{numbers[kind]}"
    taken: set[str] = set()
    places = {}
    for handle, position in handles.items():
        receptacle = episode.name_to_receptacle.get(handle, "").partition("|")[0]
        places[names[handle]] = _nearest_slot(home, receptacle, position, taken, f"{where}: object '{handle}'")
    known = {piece.name for piece in home.furniture} | set(names.values())
    rooms = {room.name for room in home.rooms}
    propositions = [
        Proposition.model_validate(
            proposition.model_dump() | {"args": _renamed(proposition.args, names, known, rooms, where)}
        )
        for proposition in episode.evaluation_propositions
    ]
    states = {
        state: {names.get(handle, scene_name(handle)): value for handle, value in values.items()}
        for state, values in episode.object_states.items()
    }
    changed = {"name_to_receptacle": places, "evaluation_propositions": propositions, "object_states": states}
    return episode.model_copy(update=changed)


def _object_handles(episode: Episode, where: str) -> dict[str, Vec3]:
    """Instance handle → where it starts, as habitat-sim numbers the instances of a template."""
    numbers: Counter[str] = Counter()
    found: dict[str, Vec3] = {}
    for entry in episode.rigid_objs:
        try:
            template = str(entry[0]).rsplit("/", 1)[-1].removesuffix(_OBJECT_CONFIG)
            position = (float(entry[1][0][3]), float(entry[1][1][3]), float(entry[1][2][3]))
        except (IndexError, TypeError, ValueError):
            raise UserError(f"{where} has an object without a transform", "restore it from a copy") from None
        found[f"{template}_:{numbers[template]:04d}"] = position
        numbers[template] += 1
    missing = next((handle for handle in episode.name_to_receptacle if handle not in found), None)
    if missing is not None:
        raise UserError(f"{where} places '{missing}', which is none of its objects", "restore it from a copy")
    return found


def _known_kind(handle: str, where: str) -> str:
    """``Cup_7_:0000`` is a cup, ``BasketBall_2_:0001`` a basket_ball."""
    kind = "_".join(_WORD.findall(handle)).lower()
    if kind not in OBJECTS:
        raise UserError(
            f"{where}: object '{handle}' is of no kind that the household knows", f"known: {', '.join(OBJECTS)}"
        )
    return kind


def _nearest_slot(home: SceneDescription, receptacle: str, position: Vec3, taken: set[str], what: str) -> str:
    """``furniture|relation|number`` of the nearest slot that nothing else has; of any furniture where none is named."""
    wanted = scene_name(receptacle) if receptacle and not receptacle.startswith("floor") else ""
    best, away = "", math.inf
    for piece in home.furniture:
        if wanted not in ("", piece.name):
            continue
        for relation, slots in (("on", piece.on_slots), ("within", piece.within_slots)):
            for number, slot in enumerate(slots):
                place, distance = f"{piece.name}|{relation}|{number}", math.dist(slot, position)
                if place not in taken and distance < away:
                    best, away = place, distance
    if receptacle.startswith("floor"):
        for room, slots in home.floor_slots.items():
            for number, slot in enumerate(slots):
                place, distance = f"floor_{room}|floor|{number}", math.dist(slot, position)
                if place not in taken and distance < away:
                    best, away = place, distance
    if not best:
        raise UserError(
            f"{what} has no place on '{receptacle}' in scene '{home.scene_id}'",
            "the receptacle is missing there, out of reach, or full",
        )
    taken.add(best)
    return best


def _renamed(
    args: dict[str, Any], names: dict[str, str], known: set[str], rooms: set[str], where: str
) -> dict[str, Any]:
    renamed = {}
    for argument, value in args.items():
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            renamed[argument] = value
            continue
        there = rooms if argument in _ROOM_ARGUMENTS else known
        renamed[argument] = [names.get(one) or _in(there, one, where) for one in value]
    return renamed


def _in(there: set[str], handle: str, where: str) -> str:
    name = scene_name(handle.lower()) if scene_name(handle.lower()) in there else scene_name(handle)
    if name not in there:
        raise UserError(
            f"{where} asks for '{handle}', which its scene lacks", "look whether the data set is the right one"
        )
    return name
