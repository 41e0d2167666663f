"""Rounds killed at any moment, in play, in training or between the phases, end as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.records.round_games import list_round_games, read_round_game
from hitl_ops.training.agent_rounds_log import read_rounds
from hitl_ops.training.train_log import read_log
from tests.support.text_rounds import MAX_STEPS, play_both_phases

PHASES = ("bc", "dpo")
TIMING = {"latency_ms", "expert_latency_ms"}
# A game whose neighbours were finished before the kill goes through the model by itself: other roundings.
ROUNDED = {"logprob"}


def context() -> ForkServerContext:
    """Real processes, whose imports are done once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.support.text_rounds", "hitl_ops.training.agent_training"])
    return made


def start(folder: Path, games_at_once: int) -> multiprocessing.process.BaseProcess:
    process = context().Process(target=play_both_phases, args=(folder, games_at_once))
    process.start()
    return process


def done_in(folder: Path) -> int:
    """Games on disk, gradient steps logged and phases handed over: grows all the time."""
    return sum(
        len(list_round_games(folder / phase / "games"))
        + len(read_log(folder / phase / "train_log.jsonl"))
        + 2 * (folder / phase / "summary.json").is_file()
        for phase in PHASES
    )


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but the time it took."""
    found: dict[str, Any] = {}
    for phase in PHASES:
        for game in map(read_round_game, list_round_games(folder / phase / "games")):
            steps = [step.model_dump(exclude=TIMING | ROUNDED) for step in game.steps]
            found[f"{game.name}/logprobs"] = [step.logprob for step in game.steps]
            found[game.name] = (steps, game.result.model_dump(exclude=TIMING), game.pictures().tobytes())
        found[f"{phase}/log"] = [
            {name: value for name, value in line.items() if name != "seconds"}
            for line in read_log(folder / phase / "train_log.jsonl")
        ]
        found[f"{phase}/rounds"] = [log.model_dump(exclude=TIMING) for log in read_rounds(folder / phase)]
        for file in ("agent/weights.safetensors", "start.safetensors", "checkpoints/step_000012/optimizer.safetensors"):
            found[f"{phase}/{file}"] = (folder / phase / file).read_bytes()
    return found


def kill_and_go_on(kills: int, tmp_path: Path, games_at_once: int) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    straight = start(whole, games_at_once)
    straight.join()
    assert straight.exitcode == 0
    expected, most = outcome(whole), done_in(whole)

    draw = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "0")))
    killed, target = 0, 0.0
    while killed < kills:
        target += draw.uniform(0, 1.5 * most / kills)
        process = start(torn, games_at_once)
        while process.is_alive() and done_in(torn) < target:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed >= kills // 2
    last = start(torn, games_at_once)
    last.join()
    assert last.exitcode == 0
    assert not list(torn.rglob(f"*{TEMPORARY_MARK}*"))
    found = outcome(torn)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-3, abs=1e-4) if "logprobs" in name else value), name
    assert len(list_round_games(torn / "dpo" / "games")) == 6
    assert all(len(expected[f"dpo-01-{game:04d}"][0]) <= MAX_STEPS for game in range(3))


@pytest.mark.slow
@pytest.mark.timeout(900)  # many starts of a training, on a machine that may be busy
@pytest.mark.parametrize("games_at_once", [1, 2])
def test_killed_at_many_moments(tmp_path: Path, games_at_once: int) -> None:
    kill_and_go_on(10, tmp_path, games_at_once)
