"""Training, merge, evaluation and promotion killed at random moments: gone on with, they end as if never stopped.

``FLYWHEEL_TEST_KILLS`` says how many kills there are in all, ``FLYWHEEL_KILL_SEED`` which moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest

from flywheel.dagster_home import opened_instance
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.models.planner_lm import read_card
from hitl_ops.serving.policy_alias import resolve
from tests.support.looped_store import Looped, annotate, succeeded
from tests.support.what_serves import aliases_stand, weights

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("FLYWHEEL_TEST_KILLS", "4"))
STEPS = ("planner_adapter", "planner_policy", "planner_evaluation", "planner_promotion")
KILLS_A_ROUND = 5
PATIENCE_S = 1200


@dataclass
class Worker:
    """A run worker at work on iteration 001 of a store."""

    store: Store
    parent: str = ""
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.before = newest_run(self.store)
        self.log = self.store.root / "worker.log"
        words = [
            "-m",
            "tests.support.refinement_worker",
            str(self.store.root),
            "001",
            *([self.parent] * bool(self.parent)),
        ]
        with self.log.open("ab") as printed:
            self.process = subprocess.Popen([sys.executable, *words], stdout=printed, stderr=subprocess.STDOUT)

    def run_id(self) -> str:
        """The run it made; "" while there is none."""
        newest = newest_run(self.store)
        return "" if newest == self.before else newest

    def until_in(self, step: str) -> bool:
        """Wait for a step to begin; False where the worker ended before."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            run = self.run_id()
            if run and step in times(self.store, run, dg.DagsterEventType.STEP_START):
                return True
            time.sleep(0.05)
        return False

    def kill(self, whom: str) -> None:
        """SIGKILL to the worker, to whatever it has started (where there is anything), or to all of it."""
        everybody = [psutil.Process(self.process.pid)]
        with contextlib.suppress(psutil.NoSuchProcess):
            everybody += everybody[0].children(recursive=True)
        for process in {"all": everybody, "worker": everybody[:1], "children": everybody[1:] or everybody}[whom]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, whatever went wrong."""
        if self.process.poll() is None:
            self.kill("all")
            self.process.wait()


def dagster_of(store: Store) -> dg.DagsterInstance:
    """Dagster's instance of a store, only to look."""
    return dg.DagsterInstance.from_config(str(store.dagster_home))


def newest_run(store: Store) -> str:
    with dagster_of(store) as instance:
        runs = instance.get_runs(limit=1)
        return runs[0].run_id if runs else ""


def times(store: Store, run: str, kind: dg.DagsterEventType) -> dict[str, float]:
    """When each step of a run came to such an event."""
    with dagster_of(store) as instance:
        return {entry.step_key: entry.timestamp for entry in instance.all_logs(run, of_type=kind) if entry.step_key}


def closed(store: Store, run: str) -> dg.DagsterRunStatus:
    """What Dagster's daemon does with a run whose worker is gone: it has failed, and its slots are free."""
    with dagster_of(store) as instance:
        found = instance.get_run_by_id(run)
        assert found is not None
        if not found.is_finished:
            instance.report_run_failed(found, "its worker is gone")
        instance.event_log_storage.free_concurrency_slots_for_run(run)
        done = instance.get_run_by_id(run)
        assert done is not None
        return done.status


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store in which iteration 001 has been played and annotated, and a copy of it."""
    root = tmp_path_factory.mktemp("kills") / "store"
    store = Store.at(root)
    with opened_instance(store) as instance:
        loop = Looped(store, instance)
        succeeded(loop.run("planner_iteration_0", 0))
        collected, plays = loop.play(1)
        succeeded(loop.run("planner_collection", 1))
        annotate(collected, plays)
        collected.labels.close()
    kept = root.with_name("kept")
    shutil.copytree(root, kept, symlinks=True)
    return root, kept


def test_killed_at_random_moments(opened: tuple[Path, Path]) -> None:
    root, kept = opened
    store = Store.at(root)
    paths = store.iteration("planner", 1)
    draw = random.Random(int(os.environ.get("FLYWHEEL_KILL_SEED", "0")))

    # Once without a kill: how long each step takes, and what comes out.
    first = resolve(store, "planner")
    assert first is not None
    with Worker(store) as straight:
        assert straight.ended() == 0, straight.log.read_text()[-4000:]
    run = straight.run_id()
    began, ended = (
        times(store, run, kind) for kind in (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS)
    )
    spans = {step: ended[step] - began[step] for step in STEPS}
    second = read_card(paths.policy).policy_id
    made = {first.policy_id: weights(first.folder), second: weights(paths.policy)}
    verdict, serves = read_gate(paths.evaluation), aliases_stand(store, made)
    assert verdict is not None and serves == (second if verdict.promote else first.policy_id)

    kills, hits = 0, dict.fromkeys(STEPS, 0)
    while kills < KILLS:
        shutil.rmtree(root)
        shutil.copytree(kept, root, symlinks=True)
        # Through the steps in their order, some of them several times.
        planned = sorted(draw.randrange(len(STEPS)) for _ in range(min(KILLS_A_ROUND, KILLS - kills)))
        if KILLS - kills >= len(STEPS):
            planned = sorted([*range(len(STEPS)), *planned[len(STEPS) :]])
        parent = ""
        for position in planned:
            step = STEPS[position]
            with Worker(store, parent) as worker:
                if worker.until_in(step):
                    time.sleep(draw.uniform(0, spans[step]))
                    worker.kill(draw.choice(("all", "all", "worker", "children")))
                    kills += 1
                    hits[step] += 1
                code = worker.ended()
            assert aliases_stand(store, made) in (first.policy_id, serves)
            parent = worker.run_id()
            if code == 0:
                break  # it was through before the kill, or what was killed was not needed any more
            assert parent, worker.log.read_text()[-4000:]
            if closed(store, parent) is dg.DagsterRunStatus.SUCCESS:
                break  # the kill met a worker that had noted its run's end and was on its way out
        else:
            with Worker(store, parent) as last:
                assert last.ended() == 0, last.log.read_text()[-4000:]
        assert read_card(paths.policy).policy_id == second
        assert weights(paths.policy) == made[second], "trained on, it is what it would have been"
        assert read_gate(paths.evaluation) == verdict
        assert aliases_stand(store, made) == serves
        assert not list(store.policies("planner").rglob(f"*{TEMPORARY_MARK}*"))
    print(f"{kills} kills: {hits}; a step took { ({step: round(span, 1) for step, span in spans.items()}) } seconds")
