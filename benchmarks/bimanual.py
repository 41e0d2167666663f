"""The station's world on one core: control steps a second without pictures, and pictures a second.

Steps are those of the scripted hand's own actions, replayed, so that only the world is measured; contacts of hands,
lid, bowl and table included. Pictures are 96×96 of the high camera through OpenGL, beside PyBullet's TinyRenderer.
Run ``python -m benchmarks.bimanual`` for the rows as JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import numpy as np

from hitl_ops.contracts.robot import Float32
from hitl_ops.experts.scripted_arms import ScriptedArms
from hitl_ops.rollouts.robot_episode import play_robot_episode
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld

ROUNDS = 5
EPISODES = 8
PICTURES = 100
SIZE = (96, 96)
TICKS_FLOOR = 1_500.0


def _scripts(world: BimanualWorld) -> list[tuple[int, Float32]]:
    """Seeds with the actions that succeed there."""
    scripts = []
    for seed in range(EPISODES):
        expert = ScriptedArms()
        expert.start(seed)
        scripts.append((seed, play_robot_episode(world, seed, expert.act).action))
    return scripts


def ticks_per_second(world: BimanualWorld, scripts: list[tuple[int, Float32]]) -> float:
    """Control steps per second of wall time, setting up the scenes left out."""
    ticks, seconds = 0, 0.0
    for seed, actions in scripts:
        world.reset(seed)
        started = time.perf_counter()
        for action in actions:
            world.tick(action)
        seconds += time.perf_counter() - started
        ticks += len(actions)
    return ticks / seconds


def pictures_per_second(world: BimanualWorld) -> float:
    """Pictures of one camera per second of wall time."""
    started = time.perf_counter()
    for _ in range(PICTURES):
        world.images(("cam_high",), SIZE)
    return PICTURES / (time.perf_counter() - started)


def bench() -> list[dict[str, Any]]:
    """Rows of ``flywheel bench bimanual``: medians of five rounds, both ways of drawing in turn."""
    with (
        BimanualWorld(BimanualConfig(renderer="opengl")) as world,
        BimanualWorld(BimanualConfig(renderer="pybullet")) as other,
    ):
        scripts = _scripts(world)
        ticks = statistics.median(ticks_per_second(world, scripts) for _ in range(ROUNDS))
        for each in (world, other):
            each.images(("cam_high",), SIZE)  # what the first picture sets up
        drawn = np.array([[pictures_per_second(world), pictures_per_second(other)] for _ in range(ROUNDS)])
    ours, reference = np.median(drawn, axis=0).tolist()
    return [
        {
            "metric": "ticks per second, one core, no pictures",
            "unit": "1/s",
            "ours": round(ticks, 1),
            "reference": None,
            "reference_name": None,
            "ratio": None,
            "target": TICKS_FLOOR,
            "holds": ticks >= TICKS_FLOOR,
        },
        {
            "metric": f"pictures per second, {SIZE[1]}×{SIZE[0]}, one core",
            "unit": "1/s",
            "ours": round(ours, 1),
            "reference": round(reference, 1),
            "reference_name": "PyBullet TinyRenderer",
            "ratio": round(ours / reference, 2),
            "target": None,
            "holds": None,
        },
    ]


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
