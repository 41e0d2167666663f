"""What stands below the household, measured: acts, path queries and pictures a second of every scene there is.

Three contenders answer the same questions in turn, and a figure is the median of the rounds: the kinematic scene in
this process, the same behind a worker's socket, and habitat-sim behind it where ``FLYWHEEL_HABITAT_PYTHON`` or
``--set habitat.python=...`` names its interpreter. The reference of the second is the first: its ratio is what the
socket costs. The reference of habitat-sim is the kinematic scene behind the same socket.

Acts are the oracle's own choices, played to their ends; "again" is the same with the answers that the client has kept.
Path queries are from places nobody asked from before. Run ``python -m benchmarks.scene`` for the rows as JSON.
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from pydantic import Field

from benchmarks.household import Script, acts_per_second, oracle_scripts
from benchmarks.household_render import furnished
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE, HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.kinematic_backend import KINEMATIC_BACKEND
from hitl_ops.worlds.habitat.open_scene import KeptScenes
from hitl_ops.worlds.habitat.remote_scene import RemoteRenderer, RemoteScene
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.renderer import Camera, Renderer, make_renderer
from hitl_ops.worlds.household.world import STEP_LENGTH

HERE, SOCKET, HABITAT = "kinematic, in this process", "kinematic, behind the socket", "habitat-sim"
_VIEWS = 16


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    episodes: int = Field(default=6, ge=1, le=32, description="Validation episodes whose acts are played.")
    queries: int = Field(default=1_000, ge=1, description="Path queries of a round, and as many single steps.")
    frames: int = Field(default=100, ge=1, description="Pictures of a round.")
    width: int = Field(default=224, ge=8, le=2048, description="Pixels of a picture.")
    height: int = Field(default=224, ge=8, le=2048, description="Pixels of a picture.")
    habitat: HabitatConfig = Field(default=HabitatConfig(), description="How habitat-sim is started.")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench scene``."""
    settings = settings or Settings()
    scripts = oracle_scripts([generate_episode("val", index) for index in range(settings.episodes)])
    kept = settings.episodes + 1
    contenders = {
        HERE: KeptScenes(SceneConfig()),
        SOCKET: KeptScenes(
            SceneConfig(kind="habitat", habitat=HabitatConfig(backend=KINEMATIC_BACKEND, scenes_kept=kept))
        ),
    }
    if settings.habitat.python or os.environ.get(PYTHON_VARIABLE):
        contenders[HABITAT] = KeptScenes(
            SceneConfig(kind="habitat", habitat=settings.habitat.replace(scenes_kept=kept))
        )
    else:
        print(f"habitat-sim is left out: neither habitat.python nor {PYTHON_VARIABLE} is set", file=sys.stderr)
    found: dict[str, dict[str, list[float]]] = {}
    try:
        for number in range(-1, settings.rounds):  # once before it counts
            for name, scenes in contenders.items():
                for figure, rate in _measure(scenes, scripts, settings, number).items():
                    if number >= 0:
                        found.setdefault(figure, {}).setdefault(name, []).append(rate)
            print(f"round {number + 1} of {settings.rounds} done", file=sys.stderr, flush=True)
    finally:
        for scenes in contenders.values():
            scenes.close()
    rows = []
    for figure, rates in found.items():
        medians = {name: statistics.median(one) for name, one in rates.items()}
        for name, ours in medians.items():
            reference = {HERE: None, SOCKET: HERE, HABITAT: SOCKET}[name]
            rows.append(_row(f"{figure}: {name}", ours, medians.get(reference or ""), reference))
    return rows


def _measure(scenes: KeptScenes, scripts: list[Script], settings: Settings, number: int) -> dict[str, float]:
    for episode, _ in scripts:
        scene = scenes.scene(episode.scene_id)
        if isinstance(scene, RemoteScene):
            scene.forget()
    return {
        "acts per second": acts_per_second(scripts, scenes.scene),
        "acts per second, again": acts_per_second(scripts, scenes.scene),
        "path queries per second": _per_second(settings.queries, _path_queries(scenes, settings, number)),
        "single steps per second": _per_second(settings.queries, _steps(scenes, settings, number)),
        f"RGB frames per second, {settings.width} x {settings.height}": _frames(scenes, settings),
    }


def _per_second(count: int, work: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(count):
        work(number)
    return count / (time.perf_counter() - began)


def _places(count: int, number: int) -> list[tuple[float, float]]:
    """Places to stand in the measured home, others in every round."""
    grid = load_scene(_home()).grid
    luck = random.Random(number)
    free = [cell for cell in range(grid.free.size) if grid.free.ravel()[cell]]
    middles = [grid.center(luck.choice(free)) for _ in range(count)]
    return [(x + luck.uniform(-0.05, 0.05), z + luck.uniform(-0.05, 0.05)) for x, z in middles]


def _path_queries(scenes: KeptScenes, settings: Settings, number: int) -> Callable[[int], object]:
    scene = scenes.scene(_home())
    places = _places(settings.queries, number)
    return lambda index: scene.route(places[index], scene.anchors[index % len(scene.anchors)])


def _steps(scenes: KeptScenes, settings: Settings, number: int) -> Callable[[int], object]:
    """As a person walks: a step, the doors there, what is seen from there."""
    scene = scenes.scene(_home())
    places = _places(settings.queries, 1_000_000 + number)

    def step(index: int) -> int:
        angle = index * 0.1
        x, z = scene.slide(*places[index], STEP_LENGTH * math.cos(angle), STEP_LENGTH * math.sin(angle))
        return scene.seen_from(x, z, scene.doors_at(x, z))

    return step


def _frames(scenes: KeptScenes, settings: Settings) -> float:
    description, facts = furnished()
    scene = scenes.scene(_home())
    renderer: Renderer
    renderer = RemoteRenderer(scene) if isinstance(scene, RemoteScene) else make_renderer(description, OBJECT_SHAPES)
    x, z = description.spawns[0]
    views = [Camera((x, 1.5, z), 2 * math.pi * turn / _VIEWS) for turn in range(_VIEWS)]
    try:
        renderer.render(facts, views[0], settings.width, settings.height, depth=False)
        return _per_second(
            settings.frames,
            lambda index: renderer.render(facts, views[index % _VIEWS], settings.width, settings.height, depth=False),
        )
    finally:
        renderer.close()


@functools.cache
def _home() -> str:
    return furnished()[0].scene_id


def _row(metric: str, ours: float, reference: float | None, name: str | None) -> dict[str, Any]:
    return {
        "metric": metric,
        "unit": "1/s",
        "ours": round(ours, 1),
        "reference": None if reference is None else round(reference, 1),
        "reference_name": None if reference is None else name,
        "ratio": None if reference is None else round(ours / reference, 3),
        "target": None,
        "holds": None,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
