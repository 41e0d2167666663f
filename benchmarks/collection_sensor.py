"""From the last acknowledged event of the last needed play to the start of the run that takes it up.

A real ``dagster dev`` with the repository's own ``dagster.yaml``; plays end at moments that have nothing to do with
the daemon's rhythm. Counted are the closing of the play's record, the sensor, Dagster's queue and the start of the
run's process up to its first event. What the runs then do is no matter here: nobody solves a task, and a check
stops them.
"""

from __future__ import annotations

import contextlib
import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.storage.dagster_run import RunRecord

from flywheel.dagster_home import loop_environment, opened_instance, source_root
from hitl_ops.contracts.store import Store

SENSOR = "finished_collection"
JOB = "planner_collection"
TARGET_S = 5.0
_ROUNDS = 9
_READY_WITHIN_S = 240.0


@dataclass
class RunningDagster:
    """A ``dagster dev`` at work.

    Attributes:
        instance: its instance, for looking.
        process: the server.
        log: what it prints.
    """

    instance: dg.DagsterInstance
    process: subprocess.Popen[bytes]
    log: Path

    def runs(self) -> list[RunRecord]:
        """Runs of the job, the oldest first."""
        return list(self.instance.get_run_records(dg.RunsFilter(job_name=JOB), ascending=True))

    def ticks(self) -> list[Any]:
        """What the sensor did lately, the newest first."""
        (state,) = [state for state in self.instance.all_instigator_state() if state.name == SENSOR]
        return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=50))

    def until(self, condition: Callable[[], Any], within_s: float) -> Any:
        """The first truthy answer of ``condition``.

        Raises:
            AssertionError: there is none in time, or the server has ended; with the end of its log.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(self.log.read_text(errors="replace")[-6000:])

    def started(self, number: int, within_s: float = 60.0) -> RunRecord:
        """The ``number``-th run of the job, from 0, once its process has told its first event."""

        def look() -> RunRecord | None:
            runs = self.runs()
            return runs[number] if len(runs) > number and runs[number].start_time else None

        return self.until(look, within_s)

    def ended(self, number: int, within_s: float = 120.0) -> RunRecord:
        """The ``number``-th run of the job once it has come to its end, good or bad."""

        def look() -> RunRecord | None:
            run = self.runs()[number]
            return run if run.dagster_run.is_finished else None

        return self.until(look, within_s)


@contextlib.contextmanager
def running_dagster(store: Store, **variables: str) -> Iterator[RunningDagster]:
    """``dagster dev`` on a store, as the Procfile starts it; yields once the sensor has looked for the first time."""
    environment = {**loop_environment(store), **variables}
    log = store.root / "dagster-dev.log"
    with opened_instance(store) as instance, log.open("wb") as printed:
        process = subprocess.Popen(
            [
                "dagster",
                "dev",
                "--log-level",
                "warning",
                "-w",
                str(source_root() / "workspace.yaml"),
                "-h",
                "127.0.0.1",
                "-p",
                "0",
            ],
            cwd=store.dagster_home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        dagster = RunningDagster(instance, process, log)
        try:
            dagster.until(
                lambda: any(state.name == SENSOR for state in instance.all_instigator_state()) and dagster.ticks(),
                _READY_WITHIN_S,
            )
            yield dagster
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            for left in (*children, process):
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    left.kill()
            process.wait()


def bench() -> list[dict[str, Any]]:
    """Time the loop's way on, over several plays."""
    rng = random.Random(0)
    to_start, to_request = [], []
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        store = Store.at(folder)
        play = _player(store)
        with running_dagster(store, FLYWHEEL_PRESET="tiny_ci", FLYWHEEL_COLLECTION_TARGET="1") as dagster:
            for number in range(1 + _ROUNDS):
                time.sleep(rng.uniform(0, 6))
                acknowledged = play()
                run = dagster.started(number)
                dagster.ended(number)
                if number == 0:
                    continue  # compiles what the others find compiled
                to_start.append((run.start_time or 0.0) - acknowledged)
                to_request.append(run.create_timestamp.timestamp() - acknowledged)
    median = statistics.median(to_start)
    return [
        _row("last acknowledged event to the run's start, median", median, target=TARGET_S, holds=median <= TARGET_S),
        _row("last acknowledged event to the run's start, slowest", max(to_start)),
        _row("last acknowledged event to the run's request, median", statistics.median(to_request)),
    ]


def _row(metric: str, ours: float, *, target: float | None = None, holds: bool | None = None) -> dict[str, Any]:
    return {
        "metric": metric,
        "unit": "s",
        "ours": round(ours, 3),
        "reference": None,
        "reference_name": None,
        "ratio": None,
        "target": target,
        "holds": holds,
    }


def _player(store: Store) -> Callable[[], float]:
    """Somebody who gives up at once, again and again: each call is a play, and gives the time of its last event."""
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.records.session_log import SessionLogHeader, SessionLogWriter, log_path
    from hitl_ops.rollouts.episode_sets import generate_episode
    from hitl_ops.rollouts.session_closing import close_play
    from hitl_ops.rollouts.session_replay import session_of

    episode = generate_episode("train", 0)
    labels = LabelStore.open(store.labels_url)
    _, token = labels.create_invitation("planner", 0)
    sitting = labels.use_invitation(token).session
    sessions = store.iteration("planner", 0).sessions

    def play() -> float:
        row = labels.start_play(sitting.id, episode.episode_id, 1)
        header = SessionLogHeader(session_id=sitting.id, play_id=row.id, episode=episode, started=time.time())
        log = log_path(sessions / sitting.id, row.id)
        with SessionLogWriter.create(log, header) as writer:
            session = session_of(header)
            for _ in range(300):
                session.step()
            end = session.finish_event("skip", wall=time.time())
            session.apply(end)
            writer.append(end)
            writer.flush()
            acknowledged = time.time()
        closed = close_play(log)
        labels.finish_play(
            row.id,
            percent_complete=end.percent_complete,
            success=end.success,
            ended_by=end.reason,
            seconds=10.0,
            record_file=f"{sitting.id}/{closed.log.name}",
            state_hash=end.state_hash,
        )
        return acknowledged

    return play
