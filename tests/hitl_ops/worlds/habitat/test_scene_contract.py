"""The scene contract over every scene there is, and the scene behind the socket beside the one in this process.

The double is habitat's backend on a double of habitat-sim: it shows that the backend keeps to the contract, and nothing
of what habitat-sim answers.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.habitat.config import HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.messages import RefusedQuestion
from hitl_ops.worlds.habitat.open_scene import close_scene, open_scene
from hitl_ops.worlds.habitat.remote_scene import RemoteRenderer, RemoteScene
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.kinematic_scene import KinematicScene, load_scene
from hitl_ops.worlds.household.renderer import Camera, make_renderer
from hitl_ops.worlds.household.scene import Scene, SceneLost
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.hitl_ops.worlds.scene_contract import CONTRACT
from tests.support.habitat_environment import BEHIND_THE_SOCKET, scenes_of
from tests.support.habitat_stand_in import double_scenes
from tests.support.small_policies import small_episode

HOMES = ("flywheel_train_000", "flywheel_val_003")


KINDS = ("kinematic", "socket", "double", "habitat")


def scenes(kind: str, factory: pytest.TempPathFactory) -> SceneConfig:
    return double_scenes(factory.mktemp("double")) if kind == "double" else scenes_of(kind)


# The double's mesh and rays are plain NumPy, which takes minutes for a home.
_PARAMS = [
    pytest.param((kind, home), marks=[pytest.mark.slow] if kind == "double" else [], id=f"{kind}-{home}")
    for kind in KINDS
    for home in HOMES
]


@pytest.fixture(scope="module", params=_PARAMS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    kind, home = request.param
    opened = open_scene(scenes(kind, tmp_path_factory), home)
    yield opened
    close_scene(opened)


@pytest.fixture(scope="module", params=KINDS[1:])
def away(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SceneConfig:
    """Scenes in a process of their own."""
    return scenes(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteScene]:
    opened = open_scene(BEHIND_THE_SOCKET, HOMES[0])
    assert isinstance(opened, RemoteScene)
    yield opened
    opened.close()


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_a_scene_keeps_to_the_contract(scene: Scene, check: Callable[[Scene], None]) -> None:
    check(scene)


def test_the_socket_changes_no_answer(remote: RemoteScene) -> None:
    """Not on the double: a mesh and rays answer other than a grid, by how much ``test_habitat_backend.py`` says."""
    here = load_scene(HOMES[0])
    assert remote.description == here.description and remote.anchors == here.anchors
    rng = random.Random(7)
    cells = np.flatnonzero(here.grid.free.ravel()).tolist()
    names = (*here.anchors, *(room.name for room in here.description.rooms))

    def place() -> tuple[float, float]:
        x, z = here.grid.center(rng.choice(cells))
        return x + rng.uniform(-0.09, 0.09), z + rng.uniform(-0.09, 0.09)

    for _ in range(500):
        (x, z), other = place(), place()
        doors = rng.getrandbits(len(here.description.doors))
        step = (rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05))
        for target in (rng.choice(names), other):
            assert remote.route((x, z), target) == here.route((x, z), target)
        assert remote.seen_from(x, z, doors) == here.seen_from(x, z, doors)
        assert remote.line_of_sight((x, z), other, doors) == here.line_of_sight((x, z), other, doors)
        assert remote.doors_at(x, z) == here.doors_at(x, z)
        assert remote.slide(x, z, *step) == here.slide(x, z, *step)
        assert remote.room_at(x, z) == here.room_at(x, z)
    for name in here.anchors:
        for relation in ("on", "within"):
            assert remote.slots(name, relation) == here.slots(name, relation)


class _Counted:
    """Counts what a scene's worker is asked; refuses some of it."""

    def __init__(self, remote: RemoteScene, monkeypatch: pytest.MonkeyPatch, refused: str = "") -> None:
        self.asked: Counter[str] = Counter()
        ask: Any = remote._ask

        def counted(answer: Any, do: str, **arguments: Any) -> Any:
            self.asked[do] += 1
            if do == refused:
                raise RefusedQuestion("no", "")
            return ask(answer, do, **arguments)

        monkeypatch.setattr(remote, "_ask", counted)


def _walk_through(remote: RemoteScene, here: KinematicScene, others: random.Random | None = None) -> int:
    """Walk from room to room as the household does, and compare all that is met; returns the places passed."""
    place, doors, passed = here.description.spawns[0], 0, 0
    for room in here.description.rooms:
        route = remote.route(place, room.name)
        assert route is not None and route == here.route(place, room.name)
        for x, z in route.points[1:]:
            if others is not None and others.random() < 0.1:
                doors |= 1 << others.randrange(len(here.description.doors))
            assert remote.doors_at(x, z) == here.doors_at(x, z)
            doors |= here.doors_at(x, z)
            assert remote.seen_from(x, z, doors) == here.seen_from(x, z, doors)
        place, passed = route.points[-1], passed + len(route.points)
    return passed


def test_what_a_walk_meets_is_told_many_places_at_a_time(remote: RemoteScene, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(remote, monkeypatch)
    here = load_scene(HOMES[0])
    remote.forget()
    places = _walk_through(remote, here)
    assert places > 50
    assert sum(counted.asked.values()) <= places / 5, counted.asked
    assert not counted.asked["doors_at"] + counted.asked["seen_from"]


@pytest.mark.parametrize("seed", range(4))
def test_what_was_told_ahead_yields_to_doors_that_others_open(remote: RemoteScene, seed: int) -> None:
    remote.forget()
    _walk_through(remote, load_scene(HOMES[0]), random.Random(seed))


def test_a_worker_that_cannot_look_ahead_is_asked_place_by_place(
    remote: RemoteScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _Counted(remote, monkeypatch, refused="ahead")
    remote.forget()
    places = _walk_through(remote, load_scene(HOMES[0]))
    assert counted.asked["seen_from"] > places / 2
    assert counted.asked["ahead"] <= places / 5, "not again for each of them"


def test_pictures_are_those_of_the_renderer_in_this_process() -> None:
    """Not on the double, whose pictures are its own; ``test_habitat_backend.py`` compares their depths with ours."""
    world = HouseholdWorld(small_episode(), scene=None)
    with_socket = open_scene(BEHIND_THE_SOCKET, world.episode.scene_id)
    assert isinstance(with_socket, RemoteScene)
    ours = make_renderer(world.state.description, OBJECT_SHAPES)
    theirs = RemoteRenderer(with_socket)
    try:
        for turn in range(4):
            if turn == 2:  # something is held, something open
                name = next(iter(world.facts.objects))
                world.state.take(0, name)
                world.state.set_open(next(iter(world.facts.furniture_open)), True)
            for camera in (Camera.of_agent(world.facts, turn % 2), Camera.topdown(world.state.description)):
                mine = ours.render(world.facts, camera, 160, 120, depth=turn % 2 == 0)
                other = theirs.render(world.facts, camera, 160, 120, depth=turn % 2 == 0)
                assert np.array_equal(mine.rgb, other.rgb)
                assert mine.rgb.std() > 5, "an empty picture proves nothing"
                if mine.depth is None:
                    assert other.depth is None
                else:
                    assert other.depth is not None and np.array_equal(mine.depth, other.depth)
        with pytest.raises(RefusedQuestion, match="semantic"):
            with_socket.picture(Camera.of_agent(world.facts, 0), 8, 8, ("semantic",))
    finally:
        ours.close()
        with_socket.close()


def test_a_scene_whose_worker_dies_says_so_and_can_be_opened_anew(away: SceneConfig) -> None:
    scene = open_scene(away, HOMES[0])
    assert isinstance(scene, RemoteScene) and scene.pid is not None
    x, z = scene.description.spawns[0]
    pid = scene.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SceneLost, match=rf"the scene's worker \(pid {pid}\) has ended: SIGKILL") as caught:
        scene.slide(x, z, 0.0, 0.0)
    assert caught.value.remedy
    with pytest.raises(SceneLost, match=str(pid)):
        scene.slide(x, z, 0.0, 0.0)
    scene.reopen()
    assert scene.pid not in (None, pid)
    assert scene.slide(x, z, 0.0, 0.0) == pytest.approx((x, z))
    scene.close()
    scene.close()
    with pytest.raises(SceneLost, match="closed"):
        scene.slide(x, z, 0.0, 0.0)


def test_a_worker_that_does_not_answer_is_lost_and_ended(away: SceneConfig) -> None:
    patient = away.habitat.replace(answer_within_s=1.0)
    scene = open_scene(SceneConfig(kind="habitat", habitat=patient), HOMES[0])
    assert isinstance(scene, RemoteScene) and scene.pid is not None
    pid = scene.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SceneLost, match="not answered within 1 s"):
        scene.slide(*scene.description.spawns[0], 0.0, 0.0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_signs_of_life_keep_an_idle_worker(away: SceneConfig) -> None:
    quick = away.habitat.replace(heartbeat_s=0.2)  # it would end after 1.2 s
    scene = open_scene(SceneConfig(kind="habitat", habitat=quick), HOMES[0])
    assert isinstance(scene, RemoteScene) and scene.pid is not None
    kept = scene.pid
    import time

    time.sleep(3.0)
    assert scene.slide(*scene.description.spawns[0], 0.0, 0.0)
    assert scene.pid == kept
    scene.close()


def test_where_temporary_folders_have_long_names_the_socket_is_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Unix socket's path may have a hundred letters or so, and batch systems like longer ones."""
    folder = tmp_path / ("temporary" * 12)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    scene = open_scene(BEHIND_THE_SOCKET, HOMES[0])
    assert isinstance(scene, RemoteScene)
    assert scene.slide(*scene.description.spawns[0], 0.0, 0.0)
    scene.close()
    assert not list(folder.iterdir())


def test_a_home_described_by_its_worker_is_played_in_like_any() -> None:
    """As a scene of a data set, the home comes over the socket.

    Not on the double: habitat's backend describes data sets of their own so, see ``test_users_scenes.py``.
    """
    scene = RemoteScene(BEHIND_THE_SOCKET.habitat, {"kind": "dataset", "scene_id": HOMES[0], "config": "homes"})
    here = load_scene(HOMES[0])
    assert isinstance(here, KinematicScene)
    assert scene.description == here.description
    scene.close()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (HabitatConfig(python="/nowhere/python"), "'/nowhere/python' does not exist"),
        (HabitatConfig(), "no interpreter with habitat-sim is named"),
        (HabitatConfig(python="false"), "could not be started: exit code 1"),
        (HabitatConfig(backend="json:JSONDecoder"), "could not be started: exit code 1"),
        (HabitatConfig(backend="nowhere:Backend"), "nowhere"),
    ],
)
def test_a_worker_that_cannot_be_started_is_a_line(
    config: HabitatConfig, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No scene is ever opened here, so that it does not matter which."""
    monkeypatch.delenv("FLYWHEEL_HABITAT_PYTHON", raising=False)
    with pytest.raises(UserError) as caught:
        RemoteScene(config, {"kind": "home", "scene_id": HOMES[0], "folder": ""}, load_scene(HOMES[0]).description)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_habitat_sim_the_worker_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    config = HabitatConfig(python=sys.executable)  # ours, which has none
    with pytest.raises(RefusedQuestion, match="habitat_sim cannot be imported") as caught:
        RemoteScene(config, {"kind": "home", "scene_id": HOMES[0], "folder": "."}, load_scene(HOMES[0]).description)
    assert "habitat.python" in caught.value.remedy


def test_an_episode_in_an_unknown_scene_names_it() -> None:
    with pytest.raises(UserError, match="102344193"):
        open_scene(BEHIND_THE_SOCKET, "102344193")
