"""The household's speed on one core: actions and ticks a second without pictures, and pictures a second.

Actions are the oracle's own choices in training episodes, played to their ends: walking, seeing, scoring and both
agents included, choosing and prompts not. Ticks are steps of 1/30 s with both agents walking all the time. Pictures
are those of ``benchmarks/household_render.py``, beside PyBullet's TinyRenderer.
Run ``python -m benchmarks.household`` for the rows as JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import household_render
from hitl_ops.contracts.episode import Episode
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.scene import Scene
from hitl_ops.worlds.household.world import HouseholdWorld

ROUNDS = 5
EPISODES = 20
TICKS = 40_000
ACTS_FLOOR = 2_000.0
TICKS_FLOOR = 20_000.0


Script = tuple[Episode, dict[int, list[str]]]
"""An episode, and each agent's actions in it."""


def oracle_scripts(episodes: list[Episode]) -> list[Script]:
    """The oracle's actions, agent by agent, so that the measured part only acts."""
    scripts = []
    for episode in episodes:
        oracle = Oracle("partial")
        played = play_episode(episode, {0: oracle, 1: oracle}, keep_world_graph=False)
        actions: dict[int, list[str]] = {0: [], 1: []}
        for decision in played.decisions:
            actions[decision.agent].append(decision.action)
        scripts.append((episode, actions))
    return scripts


def acts_per_second(scripts: list[Script], scene_of: Callable[[str], Scene] = load_scene) -> float:
    """Actions carried out per second of wall time, world set-up left out; ``scene_of`` opens scenes by their ids."""
    acts, seconds = 0, 0.0
    for episode, actions in scripts:
        world = HouseholdWorld(episode, scene=scene_of(episode.scene_id))
        left = {agent: list(reversed(mine)) for agent, mine in actions.items()}
        started = time.perf_counter()
        while not world.over:
            for agent, mine in left.items():
                if mine and not world.busy(agent) and not world.done[agent]:
                    world.start(agent, mine.pop())
                    acts += 1
            world.advance(1 << 40)
        seconds += time.perf_counter() - started
    return acts / seconds


def ticks_per_second(episode: Episode) -> float:
    """Ticks per second of wall time while both agents walk from room to room."""
    world = HouseholdWorld(episode)
    rooms = list(world.state.rooms)
    turn = 0
    started = time.perf_counter()
    for tick in range(TICKS):
        for agent in (0, 1):
            if not world.busy(agent):
                turn += 1
                world.start(agent, f"Navigate[{rooms[turn % len(rooms)]}]")
        world.tick()
        if world.over:  # the episode's own cap
            seconds = time.perf_counter() - started
            return (tick + 1) / seconds
    return TICKS / (time.perf_counter() - started)


def _row(metric: str, unit: str, ours: float, target: float) -> dict[str, Any]:
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 1),
        "reference": None,
        "reference_name": None,
        "ratio": None,
        "target": target,
        "holds": ours >= target,
    }


def bench() -> list[dict[str, Any]]:
    """Rows of ``flywheel bench household``: medians of five rounds."""
    episodes = [generate_episode("train", index) for index in range(EPISODES)]
    scripts = oracle_scripts(episodes)
    acts = statistics.median(acts_per_second(scripts) for _ in range(ROUNDS))
    ticks = statistics.median(ticks_per_second(episodes[0]) for _ in range(ROUNDS))
    return [
        _row("acts per second, one core, no pictures", "1/s", acts, ACTS_FLOOR),
        _row("ticks per second, one core, no pictures", "1/s", ticks, TICKS_FLOOR),
        *household_render.bench(),
    ]


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
