"""The dagger program's demo at its smallest; killed in any of its phases, it goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_assets.dagger_iterations import DaggerPaths
from hitl_ops.contracts.station_epoch import sha256_of
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.records.round_games import list_round_games
from hitl_ops.samples.round_rows import read_pairs
from hitl_ops.serving.policy_alias import resolve
from hitl_ops.training.agent_rounds_log import read_rounds_summary
from hitl_ops.training.train_log import read_log
from tests.support.registries import with_registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


def _words(root: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "flywheel", "demo", "--program", "dagger", "--preset", "tiny_ci"]
    return [*command, "--root", str(root), *more]


_ENVIRONMENT = {**os.environ, "COLUMNS": "100"}


def _killed_when(root: Path, reached: Callable[[], bool]) -> None:
    """Start the demo and kill it, and whatever it started, as soon as it has come somewhere."""
    log = root.parent / "killed.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            _words(root), stdout=printed, stderr=subprocess.STDOUT, env=_ENVIRONMENT, start_new_session=True
        )
    while process.poll() is None and not reached():
        time.sleep(0.02)
    assert process.poll() is None, log.read_text()
    # The phase runs in a group of its own and ends by itself when its starter is gone.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _games(phase: Path) -> dict[str, int]:
    return {game.name: (game / "steps.jsonl").stat().st_mtime_ns for game in list_round_games(phase / "games")}


def _state(phase: Path) -> list[tuple[str, str]]:
    """What the games of a phase were, latencies left out."""
    found = []
    for game in list_round_games(phase / "games"):
        for line in (game / "steps.jsonl").read_text().splitlines():
            step = json.loads(line)
            found.append((f"{game.name}/{step['step']}", f"{step['agent_action']}|{step['expert_action']}"))
    return found


def test_killed_in_every_phase_it_comes_to_the_same_end(tmp_path: Path) -> None:
    whole, root = tmp_path / "whole", tmp_path / "killed" / "store"
    with_registry(Store.at(whole))
    done = subprocess.run(_words(whole), capture_output=True, text=True, check=False, env=_ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    root.parent.mkdir()
    store = with_registry(Store.at(root))
    iteration = store.iteration("dagger", 0)
    paths = DaggerPaths(iteration)

    _killed_when(root, lambda: len(list_round_games(paths.bc / "games")) >= 2)
    _until_still(paths.bc)
    kept = _games(paths.bc)
    _killed_when(root, lambda: (paths.bc / "summary.json").is_file())  # between the phases
    assert kept.items() <= _games(paths.bc).items(), "a finished game is not played again"
    _killed_when(root, lambda: len(list_round_games(paths.dpo / "games")) >= 2)
    _until_still(paths.dpo)
    imitated, preferred = _games(paths.bc), _games(paths.dpo)
    reference = sha256_of(paths.bc_policy / "merged" / "weights.safetensors")
    done = subprocess.run(_words(root), capture_output=True, text=True, check=False, env=_ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr

    assert _games(paths.bc) == imitated and preferred.items() <= _games(paths.dpo).items()
    summary = read_rounds_summary(paths.dpo)
    assert sha256_of(paths.bc_policy / "merged" / "weights.safetensors") == reference == summary.start_weights
    rows, card = read_pairs(iteration.samples)
    assert len({row.row_id for row in rows}) == len(rows) == card.pairs
    other = DaggerPaths(Store.at(whole).iteration("dagger", 0))
    for one, same in ((paths.bc, other.bc), (paths.dpo, other.dpo), (paths.control_rounds, other.control_rounds)):
        assert _state(one) == _state(same)
        # Two processes need not round alike to the last digit, so weights of two runs are not compared bit by bit.
        steps = [
            [(line["step"], line["loss"]) for line in read_log(phase / "train_log.jsonl")] for phase in (one, same)
        ]
        assert [step for step, _ in steps[0]] == [1, 2, 3, 4], "no step is taken twice, none is left out"
        assert [loss for _, loss in steps[0]] == pytest.approx([loss for _, loss in steps[1]], rel=1e-4)
    _is_told(store, done.stdout)

    again = subprocess.run(_words(root), capture_output=True, text=True, check=False, env=_ENVIRONMENT)
    assert again.returncode == 0 and "is through already" in again.stderr, again.stderr
    differently = _words(root, "--set", "dpo.rounds=3")
    refused = subprocess.run(differently, capture_output=True, text=True, check=False, env=_ENVIRONMENT)
    assert refused.returncode == 2 and "dpo.rounds was 2, not 3" in refused.stderr


def _until_still(phase: Path) -> None:
    """Wait until the phase's process, whose starter is gone, has ended and writes no more."""
    before: dict[str, int] = {}
    while before != (before := {str(file): file.stat().st_mtime_ns for file in _files(phase)}):
        time.sleep(1.5)


def _files(phase: Path) -> list[Path]:
    return [file for file in phase.rglob("*") if file.is_file()]


def _is_told(store: Store, printed: str) -> None:
    figures = json.loads(store.demo_figures("dagger").read_text())
    (told,) = figures["iterations"]
    assert "not comparable with those of the papers" in figures["note"]
    assert list(told["agents"]) == ["untrained", "bc", "control", "dpo"]
    summary, scores = read_evaluation(store.iteration("dagger", 0).evaluation)
    for name, agent in told["agents"].items():
        won = [row.success for row in scores[name].values() if row.split == "test"]
        assert agent["success"]["n"] == len(won) == 4
        assert figures[f"success_{name}"] == pytest.approx(sum(won) / len(won)) == summary.primary(name).success.mean
        assert agent["success"]["low"] < agent["success"]["high"]
    assert [(one["phase"], one["round"]) for one in told["rounds"]] == [
        (phase, number) for phase in ("bc", "dpo", "control") for number in (1, 2)
    ]
    assert all(one["agreement"] is not None for one in told["rounds"])
    assert all(one["val_success"] is not None and one["val_agreement"] is not None for one in told["rounds"])
    serving = resolve(store, "dagger")
    assert serving is not None and serving.policy_id == told["policy_id"] and told["promoted"]
    for words in ("4 games nobody learned from", "BC + DPO", "BC, as long", "untrained", "pairs preferred"):
        assert words in printed, printed
    assert (store.root / "dagger" / "demo.png").stat().st_size > 10_000
