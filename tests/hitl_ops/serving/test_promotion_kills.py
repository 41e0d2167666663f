"""A promotion killed at any moment: what serves is whole and evaluated, and the next promotion finishes it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.serving.policy_alias import resolve, rollback
from hitl_ops.serving.promotion import promote_by_gate
from hitl_ops.training.mlflow_database import prepare_mlflow_database
from tests.support.evaluated_policies import write_evaluated
from tests.support.registries import with_registry
from tests.support.what_serves import aliases_stand, weights

KILLS = int(os.environ.get("FLYWHEEL_TEST_KILLS", "5"))
GATE = GateConfig(resamples=100)


def context() -> ForkServerContext:
    """Real processes, whose imports are done once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(
        [
            "hitl_ops.serving.promotion",
            "hitl_ops.evaluation.plots",
            "hitl_ops.models.planner_lm",
            "matplotlib.backends.backend_agg",
            "mlflow.store.tracking.sqlalchemy_store",
            "mlflow.store.model_registry.sqlalchemy_store",
        ]
    )
    return made


def promote_it(root: Path, iteration: int) -> None:
    promote_by_gate(Store.at(root), "planner", iteration, GATE)


def go_back(root: Path) -> None:
    rollback(Store.at(root), "planner")


def start(what: Callable[..., None], *arguments: object) -> BaseProcess:
    process = context().Process(target=what, args=arguments)
    process.start()
    return process


def finished(what: Callable[..., None], *arguments: object) -> float:
    """Run it to its end; how long it took."""
    began = time.monotonic()
    process = start(what, *arguments)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def killed_within(span: float, draw: random.Random, what: Callable[..., None], *arguments: object) -> bool:
    """Kill it somewhere within ``span`` seconds; False where it was quicker."""
    process = start(what, *arguments)
    process.join(draw.uniform(0, span))
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.slow
def test_killed_promotions_and_rollbacks(tmp_path: Path) -> None:
    store = with_registry(Store.at(tmp_path / "root"))
    draw = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "0")))
    made: dict[str, dict[str, bytes]] = {}

    def make(iteration: int) -> str:
        policy_id = write_evaluated(store, iteration, seed=iteration, solved="1010")
        made[policy_id] = weights(store.iteration("planner", iteration).policy)
        return policy_id

    serving = make(0)
    finished(promote_it, store.root, 0)
    assert aliases_stand(store, made) == serving
    before, serving = serving, make(1)
    span = finished(promote_it, store.root, 1)
    assert aliases_stand(store, made) == serving
    kills, iteration = 0, 1
    while kills < KILLS:
        iteration += 1
        before, serving = serving, make(iteration)
        tries = 0
        while kills < KILLS and tries < 4:
            tries += 1
            cut = killed_within(span, draw, promote_it, store.root, iteration)
            kills += cut
            assert aliases_stand(store, made) in (before, serving)
            if not cut:
                break
        finished(promote_it, store.root, iteration)
        assert aliases_stand(store, made) == serving
        assert resolve(store, "planner", "previous").policy_id == before
        # A rollback, cut off or not, has either been made or not.
        if kills < KILLS:
            kills += killed_within(span / 2, draw, go_back, store.root)
            assert aliases_stand(store, made) in (before, serving)
            finished(promote_it, store.root, iteration)
            assert aliases_stand(store, made) == serving
    assert not list(store.policies("planner").rglob(f"*{TEMPORARY_MARK}*"))
    assert {folder.name for folder in store.policies("planner").iterdir() if folder.is_dir()} == set(made)


def tables(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.slow
def test_killed_while_the_database_is_made(tmp_path: Path) -> None:
    draw = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "0")))
    first = tmp_path / "first" / "mlflow.db"
    span = finished(prepare_mlflow_database, f"sqlite:///{first}")
    whole = tables(first)
    assert {"registered_models", "runs", "alembic_version"} <= whole
    kills = 0
    while kills < KILLS:
        file = tmp_path / str(kills) / "mlflow.db"
        kills += killed_within(span, draw, prepare_mlflow_database, f"sqlite:///{file}")
        if file.exists():
            assert tables(file) == whole, "it is there whole or not at all"
    finished(prepare_mlflow_database, f"sqlite:///{file}")
    left = sorted(found.name for found in file.parent.iterdir())
    assert left == [".making", "mlflow.db"]
    store = Store.at(tmp_path / "store")
    write_evaluated(store, 0)
    (store.root / "mlflow").mkdir()
    file.rename(store.root / "mlflow" / "mlflow.db")
    assert promote_by_gate(store, "planner", 0, GATE).promoted is not None
