"""How many people play at once on this machine's cores, clients included, beside a server that blocks its event loop.

A number of people holds if 95 of 100 inputs are shown within 100 ms, every world makes its 30 ticks a second, and the
server gives up none. Both servers get the same people, who hold the same keys as long (``collection/key_script.py``).
The collection server is told when a key goes down and up, as its page tells it. The reference gets every key-down
event of a held key, 30 a second, because there an event is a tick (``collection/blocking_reference_server.py``); that
its worlds stand still while no key is held is not held against it. One process with one event loop is all clients.
Servers are started anew for every round, the two in turn, and a round looks for the largest number that holds, each
number of people for some seconds; a figure is the median of five rounds.

``--set mode=soak`` lets scripted people play for minutes instead, with broken connections, and audits the records.
Run ``python -m benchmarks.collect`` for the rows as JSON.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import uvloop
from pydantic import Field

from benchmarks.collection import soak
from benchmarks.collection.fresh_policy import make_fresh_policy
from benchmarks.collection.load_clients import ActionClient, LoadResult, StreamClient, measure, stream_clients
from benchmarks.collection.reference_process import ReferenceServer
from benchmarks.collection.rows import row
from benchmarks.collection.server_process import CollectServer
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.episode import write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.rollouts.episode_sets import episode_file, generate_episode

TICKS_PER_S = 30.0
LADDER = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
SESSIONS_RATIO, BYTES_RATIO = 10.0, 0.1


class Settings(StrictConfig):
    """What is measured, and for how long."""

    mode: Literal["capacity", "soak"] = Field(default="capacity", description="people at once, or people for long")
    policy: Path | None = Field(default=None, description="the partner's policy; made on the spot by default")
    preset: str = Field(default="laptop", description="shape of the policy made on the spot")
    episodes: int = Field(default=24, ge=1, description="different tasks that are played")
    rounds: int = Field(default=5, ge=1, description="capacity: rounds; five or more for figures to be told")
    seconds: float = Field(default=8.0, gt=0, description="capacity: how long each number of people is measured")
    warm_up_s: float = Field(default=3.0, ge=0, description="capacity: and how long it plays before that")
    most: int = Field(default=512, ge=1, description="capacity: people at most")
    within_ms: float = Field(default=100.0, gt=0, description="capacity: 95 of 100 inputs must be shown within this")
    speed_kept: float = Field(
        default=0.98,
        gt=0,
        le=1,
        description="capacity: share of 30 ticks a second every world must make; two keyframes' arrivals seconds apart "
        "tell it, and they jitter",
    )
    given_up: int = Field(default=0, ge=0, description="capacity: ticks the server may give up while measured")
    people: int = Field(default=20, ge=1, description="soak: scripted people")
    minutes: float = Field(default=10.0, gt=0, description="soak: how long they play")
    drops_per_minute: float = Field(
        default=0.3, ge=0, description="soak: broken connections a minute and person; 0.3 is 5 % of all every 10 s"
    )


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench collect``."""
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        store = Store.at(folder)
        episodes = [generate_episode("train", index) for index in range(settings.episodes)]
        write_episodes(episode_file(store.episodes, "train"), episodes)
        policy = settings.policy or make_fresh_policy(store.root / "fresh_policy", episodes[:6], preset=settings.preset)
        who = "trained tiny partner" if settings.policy else "fresh tiny partner"
        if settings.mode == "soak":
            return soak.rows(store, policy, who, settings.people, settings.minutes, settings.drops_per_minute)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Capacity(settings, store, policy, who).rows())


class _Side:
    """One server under load, and how many people it held in each round."""

    def __init__(self, name: str, first: int, most: int) -> None:
        self.name = name
        self.ladder = [number for number in LADDER if number <= most]
        self.start = first
        self.held: list[LoadResult | None] = []


class _Capacity:
    """Finds how many people each server holds."""

    def __init__(self, settings: Settings, store: Store, policy: Path, who: str) -> None:
        self._settings = settings
        self._store = store
        self._policy = policy
        self._who = who
        self._streams: list[StreamClient] = []
        self._actions: list[ActionClient] = []

    async def rows(self) -> list[dict[str, Any]]:
        """Measure and make the rows."""
        # Where the search begins makes no difference to where it ends, only to how long it takes.
        ours = _Side("ours", 256, self._settings.most)
        reference = _Side("reference", 2, self._settings.most)
        for number in range(self._settings.rounds):
            with self._server(number) as server:
                self._streams = []
                await asyncio.to_thread(server.wait_for_partner)
                await self._round(ours, lambda count, server=server: self._try_ours(server, count))
            with ReferenceServer(self._store, self._policy) as other:
                self._actions = []
                await self._round(reference, lambda count, other=other: self._try_reference(other, count))
            print(f"round {number + 1} of {self._settings.rounds} done", file=sys.stderr, flush=True)
        return self._told(ours, reference)

    def _server(self, number: int) -> CollectServer:
        """The collection server of a round, with limits that let a whole crowd come from one address.

        In a store of its own: it would take up, and ten minutes later close, the plays of the rounds before.
        """
        store = Store.at(self._store.root / f"round_{number}")
        shutil.copytree(self._store.episodes, store.episodes)
        limits = {"max_sockets": 1000, "joins_per_s": 10_000, "join_burst": 10_000, "decision_limit": 10_000}
        options = ["--partner", str(self._policy), "--capacity", "1000"]
        options += [word for key, value in limits.items() for word in ("--set", f"{key}={value}")]
        return CollectServer(store.root, options, invite=self._settings.most)

    async def _round(self, side: _Side, measured: Callable[[int], Coroutine[Any, Any, LoadResult | None]]) -> None:
        """Go up while it holds, or down until it does, from where the last round ended."""
        at = max(i for i, count in enumerate(side.ladder) if count <= max(side.start, side.ladder[0]))
        best = await measured(side.ladder[at])
        if best is not None:
            while at + 1 < len(side.ladder) and (higher := await measured(side.ladder[at + 1])) is not None:
                best, at = higher, at + 1
        else:
            while best is None and at > 0:
                at -= 1
                best = await measured(side.ladder[at])
        side.held.append(best)
        side.start = best.sessions if best is not None else 1

    async def _try_ours(self, server: CollectServer, count: int) -> LoadResult | None:
        if len(self._streams) < count:
            numbers = range(len(self._streams), count)
            self._streams += await stream_clients(server.url, server.invitation, numbers)
        clients = self._streams[:count]
        await _connected(clients)
        slipped = 0

        async def begin() -> None:
            nonlocal slipped
            slipped = _slipped(await asyncio.to_thread(server.overview))

        settings = self._settings
        try:
            result = await measure(clients, warm_up_s=settings.warm_up_s, seconds=settings.seconds, begin=begin)
            figures = await asyncio.to_thread(server.overview)
        finally:
            await _gone(clients)
        if errors := [error for client in clients for error in client.errors]:
            raise RuntimeError(f"the server refused something under load: {errors[:3]}")
        workers = [worker for worker in figures["workers"]["workers"] if worker]
        result.late_ms_p99 = max(worker["late_ms_p99"] for worker in workers)
        inference = figures["workers"]["inference"]
        result.decides_ms = inference["latency_ms_p50"] if inference else 0.0
        speed = result.ticks_per_s or 0.0
        kept = speed >= settings.speed_kept * TICKS_PER_S and _slipped(figures) - slipped <= settings.given_up
        holds = kept and result.p95_ms <= settings.within_ms
        _say("ours", result, holds, f"{speed:.2f} ticks/s, tick lateness p99 {result.late_ms_p99:.1f} ms")
        return result if holds else None

    async def _try_reference(self, server: ReferenceServer, count: int) -> LoadResult | None:
        while len(self._actions) < count:
            self._actions.append(ActionClient(len(self._actions), server.url))
        clients = self._actions[:count]
        await _connected(clients)
        try:
            result = await measure(clients, warm_up_s=self._settings.warm_up_s, seconds=self._settings.seconds)
        finally:
            await _gone(clients)
        await asyncio.to_thread(server.settle)
        holds = result.p95_ms <= self._settings.within_ms
        _say("reference", result, holds, "")
        return result if holds else None

    def _told(self, ours: _Side, reference: _Side) -> list[dict[str, Any]]:
        mine, theirs = _median(ours), _median(reference)
        people = f"people at once, 30 ticks/s, inputs shown within {self._settings.within_ms:g} ms (p95), {self._who}"
        rows = [
            row(people, "people", mine.sessions, theirs.sessions, target=SESSIONS_RATIO, at_least=True),
            row("received by one of them", "bytes/s", mine.bytes_per_s, theirs.bytes_per_s, target=BYTES_RATIO),
        ]
        for name, side in (("collection server", mine), ("blocking reference", theirs)):
            figure = row(
                f"input to picture, p95, {side.sessions} people, {name}",
                "ms",
                side.p95_ms,
                limit=self._settings.within_ms,
            )
            rows.append(figure)
        late = row(f"tick lateness, p99, {mine.sessions} people", "ms", mine.late_ms_p99, limit=1000 / TICKS_PER_S)
        decides = row(f"partner decides, p50, {mine.sessions} people, {self._who}", "ms", mine.decides_ms)
        return [*rows, late, decides]


def _slipped(figures: dict[str, Any]) -> int:
    """Ticks the server has given up."""
    return sum(worker["slipped"] for worker in figures["workers"]["workers"] if worker)


def _median(side: _Side) -> LoadResult:
    """The median of the rounds, figure by figure; a round in which nobody was held counts as none."""
    held = [result for result in side.held if result is not None]
    if not held:
        raise UserError(f"the {side.name} server holds nobody on this machine", "measure while nothing else runs")
    sessions = statistics.median_low([result.sessions if result else 0 for result in side.held])
    return LoadResult(
        sessions=sessions,
        p50_ms=statistics.median(result.p50_ms for result in held),
        p95_ms=statistics.median(result.p95_ms for result in held),
        bytes_per_s=statistics.median(result.bytes_per_s for result in held),
        ticks_per_s=None,
        late_ms_p99=statistics.median(result.late_ms_p99 for result in held),
        decides_ms=statistics.median(result.decides_ms for result in held),
    )


async def _connected(clients: list[Any]) -> None:
    """Connect clients, some at a time: nobody measures how they come."""
    for first in range(0, len(clients), 16):
        await asyncio.gather(*(client.connect() for client in clients[first : first + 16]))


async def _gone(clients: list[Any]) -> None:
    await asyncio.gather(*(client.disconnect() for client in clients))
    await asyncio.sleep(0.5)


def _say(name: str, result: LoadResult, holds: bool, more: str) -> None:
    print(
        f"{name}: {result.sessions} people, p50 {result.p50_ms:.0f} ms, p95 {result.p95_ms:.0f} ms, "
        f"{result.bytes_per_s:,.0f} bytes/s each {more} {'holds' if holds else 'breaks'}",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2, ensure_ascii=False))
