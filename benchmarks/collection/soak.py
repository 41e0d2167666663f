"""Scripted people for minutes, with broken connections: what the server does meanwhile, and what it kept."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.collection.rows import row
from benchmarks.collection.server_process import CollectServer
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from ui_collect.scripted_people.audit import Audit, audit
from ui_collect.scripted_people.crowd import Crowd, run_crowd
from ui_collect.scripted_people.people_settings import PeopleSettings

LAG_MS = 50.0
GROWTH = 1.1
_LOOK_EVERY_S = 5.0
_RECORDS_WITHIN_S = 180.0
_SETTLED = 0.4
"""Share of the time after which memory is taken to have its size: homes are loaded by then, and buffers filled."""


@dataclass
class SoakResult:
    """What came of it.

    Attributes:
        memory_mb: of all the server's processes together, over time.
        lag_p99_ms: of the web server's event loop, over the last five minutes of the run.
    """

    crowd: Crowd
    audit: Audit
    memory_mb: list[float] = field(default_factory=list)
    lag_p99_ms: float = 0.0
    lag_worst_ms: float = 0.0
    late_ms_p99: float = 0.0
    left_open: int = 0

    @property
    def growth(self) -> float:
        """Memory at the end over memory once it had settled; medians of a tenth of the run each."""
        few = max(1, len(self.memory_mb) // 10)
        settled = int(len(self.memory_mb) * _SETTLED)
        before = statistics.median(self.memory_mb[settled : settled + few])
        return statistics.median(self.memory_mb[-few:]) / before


def run_soak(server: CollectServer, store: Store, settings: PeopleSettings) -> SoakResult:
    """Let people play at a running server, then hold what they were told against what it kept.

    Args:
        server: running, and stopped by whoever started it.
        store: its store.
        settings: the people; ``duration_s`` says how long.
    """
    memory: list[float] = []
    figures: dict[str, Any] = {}

    async def look() -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            memory.append(sum((await asyncio.to_thread(server.memory_mb)).values()))
            figures.update(await asyncio.to_thread(server.overview))

    async def play() -> Crowd:
        looking = asyncio.create_task(look())
        try:
            return await run_crowd(server.url, server.invitation, settings)
        finally:
            looking.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = runner.run(play())
    labels = LabelStore.open(store.labels_url)
    left = _wait_for_records(store, labels)
    found = audit(store, labels, crowd.people)
    workers = [worker for worker in figures["workers"]["workers"] if worker]
    return SoakResult(
        crowd=crowd,
        audit=found,
        memory_mb=memory,
        lag_p99_ms=figures["loop_lag"]["p99_ms"],
        lag_worst_ms=figures["loop_lag"]["worst_ms"],
        late_ms_p99=max(worker["late_ms_p99"] for worker in workers),
        left_open=left,
    )


def _wait_for_records(store: Store, labels: LabelStore) -> int:
    """Wait until the plays of sessions that have ended are closed; returns how many are not.

    The server still runs, so a file may be just being written: it has as long as the plays have.
    """
    until = time.monotonic() + _RECORDS_WITHIN_S
    while left := len(labels.open_plays(of_ended_sessions=True)):
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    while any(store.root.rglob(f"*{TEMPORARY_MARK}*")) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def rows(
    store: Store, policy: Path, who: str, people: int, minutes: float, drops_per_minute: float
) -> list[dict[str, Any]]:
    """Run it and make its rows."""
    settings = PeopleSettings.model_validate(
        {
            "people": people,
            "duration_s": minutes * 60,
            "person": {"skill": 0.9, "drops_per_minute": drops_per_minute, "overrides": 0.1, "skips": 0.1},
        }
    )
    options = ["--partner", str(policy), "--capacity", str(people)]
    options += ["--set", "joins_per_s=1000", "--set", "join_burst=1000", "--set", "tasks_per_session=1000"]
    with CollectServer(store.root, options, invite=people) as server:
        result = run_soak(server, store, settings)
    print(result.crowd.summary.model_dump_json(indent=2), file=sys.stderr)
    for wrong in (*result.audit.lost, *result.audit.invalid, *result.audit.half_files, *result.crowd.summary.defects):
        print(wrong, file=sys.stderr)
    summary, found = result.crowd.summary, result.audit
    what = f"{people} people, {minutes:g} min, {summary.drops} broken connections, {who}"
    return [
        row(
            f"acknowledged events not in the records, of {found.acknowledged}; {what}",
            "events",
            len(found.lost),
            limit=0,
        ),
        row(f"finished plays not closed or not valid, of {found.closed}", "plays", len(found.invalid), limit=0),
        row("plays of ended sessions left open", "plays", result.left_open, limit=0),
        row("half-written files", "files", len(found.half_files), limit=0),
        row("breaches of the protocol by the server", "breaches", len(summary.defects), limit=0),
        row("event loop lag, p99", "ms", result.lag_p99_ms, limit=LAG_MS),
        row("event loop lag, worst", "ms", result.lag_worst_ms),
        row("tick lateness, p99", "ms", result.late_ms_p99, limit=1000 / 30),
        row("input to picture, p95", "ms", summary.latency_ms_p95, limit=100.0),
        row("memory of all processes, end over settled", "ratio", result.growth, limit=GROWTH),
        row("memory of all processes at the end", "MB", result.memory_mb[-1] if result.memory_mb else 0.0),
    ]
