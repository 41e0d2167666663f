"""A scene's worker tried out: started, greeted, a scene opened, and one question of each sort asked."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.config import HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.home_manifest import read_manifest
from hitl_ops.worlds.habitat.messages import KINDS, PROTOCOL, Hello
from hitl_ops.worlds.habitat.open_scene import what_to_open
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.habitat.users_scenes import SceneDataSet
from hitl_ops.worlds.habitat.worker_process import WorkerProcess
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.renderer.camera import EYE_HEIGHT, Camera
from hitl_ops.worlds.household.scene import SceneLost
from hitl_ops.worlds.household.scene_description import Furniture, SceneDescription

HOME = "flywheel_val_000"
"""The home that is opened where no scene is named."""
_SHOWN = "mug"
_NAMED = 4
_REMEDY = "look at its last words, and at the graphics card: -1 needs none"


class TrialConfig(StrictConfig):
    """What ``flywheel habitat-worker`` tries; the same key as wherever homes are played."""

    scene: SceneConfig = Field(default=SceneConfig(kind="habitat"), description="what is tried")


@dataclass(frozen=True)
class Step:
    """Something that worked.

    Attributes:
        name: worker, scene, route, sight, or a kind of picture.
        said: what came of it, one line.
        seconds: how long it took; None for what was not asked.
        picture: what was drawn, [h, w, ...].
    """

    name: str
    said: str
    seconds: float | None = None
    picture: NDArray[Any] | None = field(default=None, repr=False)


def try_worker(config: HabitatConfig, scene_id: str, width: int, height: int) -> Generator[Step]:
    """Start a worker and ask it one question of each sort; a step is told as soon as it is done.

    Args:
        config: how the worker is started.
        scene_id: what is opened; if empty, the first scene of ``config.scene_dataset``, or else a home of ours.
        width: of the pictures, pixels.
        height: of the pictures, pixels.

    Raises:
        UserError: the first thing that does not work.
    """
    with ExitStack() as stack:
        began = time.monotonic()
        worker = WorkerProcess(config)
        stack.callback(worker.end)
        yield Step("worker", _introduced(worker.hello, worker.interpreter), time.monotonic() - began)
        began = time.monotonic()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flywheel-home-"))
        asked, known = what_to_open(config, scene_id or _first_scene(config), Path(folder))
        scene = RemoteScene(config, asked, known, worker)
        stack.callback(scene.close)
        yield Step("scene", _described(scene.description), time.monotonic() - began)
        try:
            yield from _geometry(scene)
            yield from _pictures(scene, asked.get("folder", ""), width, height)
        except SceneLost as error:
            raise UserError(error.what, _REMEDY) from None


def _first_scene(config: HabitatConfig) -> str:
    if not config.scene_dataset:
        return HOME
    scenes = SceneDataSet(config.scene_dataset).scenes()
    if not scenes:
        raise UserError(f"scene data set '{config.scene_dataset}' has no scenes", "look at the folders it names")
    return scenes[0]


def _introduced(hello: Hello, interpreter: str) -> str:
    versions = [f"Python {hello.python}", *(f"{name} {version}" for name, version in sorted(hello.versions.items()))]
    can = ", ".join(hello.capabilities) or "nothing beyond the geometry"
    told = f"{hello.backend}, version {hello.worker_version}, protocol {PROTOCOL}; {', '.join(versions)}"
    return f"{told}; can: {can}; at {interpreter}"


def _described(home: SceneDescription) -> str:
    counts = ((len(home.rooms), "rooms"), (len(home.furniture), "pieces of furniture"), (len(home.doors), "doors"))
    return f"{home.scene_id}: {', '.join(f'{count} {what}' for count, what in counts)}"


def _geometry(scene: RemoteScene) -> Iterator[Step]:
    """A way to what is farthest as the crow flies, and the line of sight along it."""
    start = scene.description.spawns[0]
    places = {piece.name: piece.access[0] for piece in scene.description.furniture if piece.access}
    target = max(places, key=lambda name: math.dist(start, places[name]), default=scene.anchors[-1])
    began = time.monotonic()
    route = scene.route(start, target)
    if route is None:
        what = f"the scene's worker finds no way from {_at(start)} to '{target}'"
        raise UserError(what, "look at the collision assets of the scene")
    way = f"{route.lengths[-1]:.2f} m from {_at(start)} to {target}, {len(route.points)} points"
    yield Step("route", way, time.monotonic() - began)
    began = time.monotonic()
    doors = (1 << len(scene.description.doors)) - 1
    clear = scene.line_of_sight(start, route.points[-1], doors)
    seen = scene.seen_from(*start, doors).bit_count()
    across = "clear" if clear else "something stands between"
    told = f"{across}, doors open; {seen} of {len(scene.anchors)} things in sight from {_at(start)}"
    yield Step("sight", told, time.monotonic() - began)


def _pictures(scene: RemoteScene, folder: str, width: int, height: int) -> Iterator[Step]:
    drawn = [kind for kind in KINDS if kind in scene.hello.capabilities]
    facts, camera = _moment(scene.description)
    if drawn:
        scene.show(facts)
    for kind in KINDS:
        if kind not in drawn:
            yield Step(kind, f"not drawn: {scene.hello.backend} has none")
            continue
        began = time.monotonic()
        picture = scene.picture(camera, width, height, (kind,))[kind]
        seconds = time.monotonic() - began
        yield Step(kind, f"{width} x {height}, {_shown(kind, picture, camera, folder)}", seconds, picture)


def _shown(kind: str, picture: NDArray[Any], camera: Camera, folder: str) -> str:
    if kind == "rgb":
        return _colours(picture)
    return _metres(picture, camera) if kind == "depth" else _names(picture, folder)


def _moment(home: SceneDescription) -> tuple[Facts, Camera]:
    """Somebody before a piece of furniture with a mug on it, and what this person sees."""
    piece = next((piece for piece in home.furniture if piece.on_slots and piece.access), None)
    x, z = piece.access[0] if piece is not None else home.spawns[0]
    objects: dict[str, ObjectFacts] = {}
    agent, pitch = AgentFacts(x, z), 0.0
    if piece is not None:
        slot, place = _nearest_slot(piece)
        objects[f"{_SHOWN}_1"] = ObjectFacts(_SHOWN, "on", piece.name, slot, place)
        agent.yaw = math.atan2(-(place[2] - z), place[0] - x)
        pitch = math.atan2(place[1] - EYE_HEIGHT, max(0.1, math.dist((x, z), (place[0], place[2]))))
    facts = Facts([agent], objects, furniture_rooms={}, furniture_open={}, furniture_states={}, doors_open={})
    return facts, Camera.of_agent(facts, 0, pitch=pitch)


def _nearest_slot(piece: Furniture) -> tuple[int, tuple[float, float, float]]:
    x, z = piece.access[0]
    return min(enumerate(piece.on_slots), key=lambda slot: math.dist((x, z), (slot[1][0], slot[1][2])))


def _colours(picture: NDArray[Any]) -> str:
    count = len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0))
    if count == 1:
        raise UserError("the scene's worker draws pictures of one colour", "look at the graphics card and its driver")
    return f"{count} colours"


def _metres(picture: NDArray[Any], camera: Camera) -> str:
    near = picture[picture < camera.far]
    if not near.size:
        raise UserError("the scene's worker measures no depth anywhere", "look at the graphics card and its driver")
    return f"{near.min():.2f} to {near.max():.2f} m"


def _names(picture: NDArray[Any], folder: str) -> str:
    """The largest things in a semantic picture, by name where a home's manifest gives ids names."""
    names: dict[int, str] = {}
    if folder:
        manifest = read_manifest(folder)
        entries = {**manifest.objects, **manifest.agents}
        names = {entry.semantic_id: name for name, entry in entries.items()}
        names |= {number: name for name, number in manifest.semantic_ids.items()}
    ids, counts = np.unique(picture[picture != 0], return_counts=True)
    if not len(ids):
        return "nothing in it has an id"
    largest = sorted(zip(counts.tolist(), ids.tolist(), strict=True), reverse=True)[:_NAMED]
    named = ", ".join(f"{names.get(number, number)} {count / picture.size:.0%}" for count, number in largest)
    return f"{len(ids)} ids: {named}"


def _at(place: tuple[float, float]) -> str:
    return f"({place[0]:.2f}, {place[1]:.2f})"
