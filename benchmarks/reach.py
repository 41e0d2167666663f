"""The arm's world: steps a second with several arms in one physics, and samples a second of PPO on it.

Two references for the steps, both Stable-Baselines3's own ways of having several environments: as many arms stepped
one after the other, each in a physics of its own (``DummyVecEnv``), and one process an arm (``SubprocVecEnv``, which
gains with every core). All three are driven as a training drives them, with the same actions, and begin anew by
themselves; they take turns, and a figure is the median of the rounds. PPO's rows stand alone.

Run ``python -m benchmarks.reach`` for the rows as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.training.ppo import PPOSummary, train_ppo
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.environment import ReachEnv
from hitl_ops.worlds.reach.kinematics import JOINTS
from hitl_ops.worlds.reach.vector_environment import ReachVecEnv

HELD = 5
"""Steps that an action stays: arms under way, not trembling at their start."""


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    arms: int = Field(default=8, ge=1, description="Arms, each in an episode of its own.")
    steps: int = Field(default=200, ge=1, description="Steps of every arm in a round.")
    ppo: PPOConfig = Field(default=PPOConfig(total_steps=8_192), description="A round's training.")


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench reach``."""
    settings = settings or Settings()
    world = ReachConfig()
    made = [partial(ReachEnv, world) for _ in range(settings.arms)]
    contenders: dict[str, VecEnv] = {
        "ours": ReachVecEnv(settings.arms, world, seed=0),
        "separate": DummyVecEnv(list(made)),
        "processes": SubprocVecEnv(list(made)),
    }
    drawn = np.random.default_rng(0).uniform(-0.7, 0.7, (-(-settings.steps // HELD), settings.arms, JOINTS))
    actions = drawn.astype(np.float32).repeat(HELD, axis=0)[: settings.steps]
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    trained: list[PPOSummary] = []
    try:
        for number in range(-1, settings.rounds):  # once before it counts
            for name, arms in contenders.items():
                rate = _steps_per_second(arms, actions)
                if number >= 0:
                    rates[name].append(rate)
            if number >= 0:
                with tempfile.TemporaryDirectory(prefix="flywheel-reach-") as place:
                    trained.append(train_ppo(settings.ppo, world, Path(place) / "ppo"))
                print(f"round {number + 1} of {settings.rounds} done", file=sys.stderr, flush=True)
    finally:
        for arms in contenders.values():
            arms.close()
    speed = {name: statistics.median(found) for name, found in rates.items()}
    told = f"environment steps per second, {settings.arms} arms"
    separate = f"SB3's DummyVecEnv of {settings.arms}, each its own physics"
    processes = f"SB3's SubprocVecEnv of {settings.arms} processes, {os.cpu_count()} cores"
    samples = statistics.median(one.steps_per_second for one in trained if one.steps_per_second is not None)
    share = statistics.median(one.learning_share for one in trained if one.learning_share is not None)
    return [
        _row(told, "1/s", speed["ours"], speed["separate"], separate),
        _row(told, "1/s", speed["ours"], speed["processes"], processes),
        _row(f"PPO samples per second, {settings.ppo.arms} arms in one process", "1/s", samples),
        _row("share of PPO's time spent in learning", "", share),
    ]


def _steps_per_second(arms: VecEnv, actions: npt.NDArray[np.float32]) -> float:
    """Steps of all arms together, a second of wall time; the first reset is left out."""
    arms.reset()
    began = time.perf_counter()
    for wanted in actions:
        arms.step(wanted)
    return actions.shape[0] * actions.shape[1] / (time.perf_counter() - began)


def _row(
    metric: str, unit: str, ours: float, reference: float | None = None, name: str | None = None
) -> dict[str, Any]:
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 1 if unit else 3),
        "reference": None if reference is None else round(reference, 1),
        "reference_name": name,
        "ratio": None if reference is None else round(ours / reference, 2),
        "target": None,
        "holds": None,
    }


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
