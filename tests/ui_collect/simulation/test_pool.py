"""The processes that play, for real: started, killed, started anew, and ended with whoever started them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hitl_ops.contracts.store import Store
from hitl_ops.records.session_export import read_episode_file, read_session_file
from hitl_ops.records.session_log import read_session_log
from hitl_ops.rollouts.session_replay import replay
from hitl_ops.serving.serving_config import ServingConfig
from hitl_ops.worlds.household.tools import SUCCESS
from tests.support.plays import small_episode
from tests.support.small_policies import write_policy
from ui_collect.keyframes import Picture
from ui_collect.simulation.messages import (
    Act,
    Close,
    EndSession,
    Finish,
    Input,
    Join,
    Leave,
    OpenPlay,
    Override,
    PlayEvent,
)
from ui_collect.simulation.pool import PoolSettings, SimulationPool

pytestmark = pytest.mark.integration
PATIENCE_S = 120.0


class Page:
    """One play, as its page knows it."""

    def __init__(self, pool: SimulationPool, **changes: Any) -> None:
        self.play_id, self.session_id = secrets.token_hex(8), secrets.token_hex(8)
        self.pool = pool
        self.said: list[PlayEvent] = []
        self.picture = Picture()
        self.seq = -1
        self.asked = OpenPlay(
            play_id=self.play_id,
            session_id=self.session_id,
            iteration="000",
            episode=small_episode().model_dump(mode="json"),
            attempt=1,
            participant="ann",
            **{"partner": "none", **changes},
        )

    def hear(self, event: PlayEvent) -> None:
        if event.kind == "frame":
            self.picture.take(event.payload)
        else:
            self.said.append(event)
            if event.kind == "opened" and len(self.heard("opened")) > 1:
                self.join()

    def heard(self, kind: str) -> list[Any]:
        return [event.payload for event in self.said if event.kind == kind]

    def join(self) -> None:
        self.pool.send(Join(play_id=self.play_id))

    async def open(self, *, resume: bool = False) -> None:
        self.pool.send(self.asked.model_copy(update={"resume": resume}))
        await until(lambda: bool(self.heard("opened")), "for the play to open")
        self.join()
        await until(lambda: bool(self.picture.agents), "for a keyframe")

    def act(self, action: str) -> int:
        self.seq += 1
        self.pool.send(Act(play_id=self.play_id, seq=self.seq, action=action))
        return self.seq

    async def do(self, action: str) -> str:
        return await self.answered(self.act(action))

    async def answered(self, seq: int) -> str:
        await until(lambda: any(said["seq"] == seq for said in self.heard("answer")), f"for an answer to {seq}")
        return str(next(said["response"] for said in self.heard("answer") if said["seq"] == seq))

    async def saved(self, seq: int) -> None:
        await until(lambda: any(said["seq"] >= seq for said in self.heard("saved")), f"for {seq} to be saved")

    async def fetch_the_mug(self) -> None:
        for action in ("Navigate[mug_1]", "Pick[mug_1]", "Navigate[bedroom_bed_1]"):
            assert await self.do(action) == SUCCESS
        assert await self.do("Place[mug_1, on, bedroom_bed_1, None, None]") == SUCCESS

    def folder(self, root: Path) -> Path:
        return Store.at(root).iteration("planner", 0).sessions / self.session_id


class Server:
    """A pool and the pages of its plays."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.pool = SimulationPool(PoolSettings(root=root, **{"workers": 1, "policy": "none", **settings}), self._hear)
        self.pages: dict[str, Page] = {}

    def page(self, **changes: Any) -> Page:
        page = Page(self.pool, **changes)
        self.pages[page.play_id] = self.pages[page.session_id] = page
        return page

    def _hear(self, events: list[PlayEvent]) -> None:
        for event in events:
            self.pages[event.play_id].hear(event)

    async def killed(self, name: str) -> None:
        """Kill a process and wait until another one has taken its place."""
        process = self.pool.stats().processes[name]
        assert process is not None
        os.kill(process, signal.SIGKILL)
        await until(lambda: self.pool.stats().processes[name] not in (None, process), f"for {name} to come back")


async def until(condition: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain {what}"
        await asyncio.sleep(0.01)


def play(server: Server, scene: Callable[[], Awaitable[None]]) -> None:
    """Run a scene with the server's processes, and see to it that none is left."""

    async def whole() -> None:
        await server.pool.start()
        children = [psutil.Process(number) for number in server.pool.stats().processes.values() if number is not None]
        try:
            await scene()
        finally:
            await server.pool.stop()
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)

    asyncio.run(whole())


def test_a_play_from_its_opening_to_its_record(tmp_path: Path) -> None:
    server = Server(tmp_path)

    async def scene() -> None:
        page = server.page(partner="oracle")
        await page.open()
        (opened,) = page.heard("opened")
        assert opened["objects"] == list(small_episode().name_to_receptacle)
        assert (opened["next_seq"], opened["resumed"], opened["human"]) == (0, False, 0)
        assert {piece["name"] for piece in opened["scene"]["furniture"]} == set(opened["furniture"])
        assert set(opened["shapes"]) == {"mug", "kettle", "apple", "lamp"}
        await page.fetch_the_mug()
        await until(lambda: bool(page.heard("closed")), "for the record")
        (over,), (closed,) = page.heard("over"), page.heard("closed")
        assert (over["success"], over["reason"], over["missing"]) == (True, "task", [])
        assert closed == {"record": f"sessions/{page.session_id}/{page.play_id}.json.gz", "error": ""}
        record = read_episode_file(page.folder(tmp_path) / f"{page.play_id}.json.gz")
        assert record.metrics.state_hash == over["state_hash"]
        assert {decision.policy_id for decision in record.decisions} == {"human:ann", "oracle-partial"}
        server.pool.send(EndSession(session_id=page.session_id, iteration="000"))
        await until(lambda: bool(page.heard("session_closed")), "for the session's record")
        assert len(read_session_file(page.folder(tmp_path) / "session.json.gz").episodes) == 1
        assert server.pool.stats().plays == 0
        await until(lambda: server.pool.stats().workers[0] is not None)

    play(server, scene)


def test_a_killed_worker_costs_nobody_a_thing(tmp_path: Path) -> None:
    server = Server(tmp_path)

    async def scene() -> None:
        pages = [server.page() for _ in range(4)]
        await asyncio.gather(*(page.open() for page in pages))
        for page in pages:
            await page.do("Navigate[mug_1]")
            await page.saved(page.seq)
        for round_ in range(2):
            for page in pages:
                page.act("Pick[mug_1]" if round_ == 0 else "Navigate[bedroom_bed_1]")
            # Whatever the worker had read or written of that: it is taken up, and happens once.
            await server.killed("worker 0")
            for page in pages:
                seq = page.seq
                await until(
                    lambda page=page, seq=seq: any(said["seq"] >= seq for said in page.heard("saved")), "to be saved"
                )
                assert len(page.heard("opened")) == round_ + 2
                assert page.heard("opened")[-1]["resumed"]
            if round_ == 0:
                # An answer is told once it is on disk: no later kill takes it back.
                for page in pages:
                    await page.answered(page.seq)
                    assert page.picture.agents[0].held == 0
        assert server.pool.stats().worker_restarts == 2
        pages[0].pool.send(Leave(play_id=pages[0].play_id))
        for page in pages:
            await until(lambda page=page: page is pages[0] or not page.picture.agents[0].busy, "to arrive")
            page.join()
            assert await page.do("Navigate[bedroom_bed_1]") == SUCCESS
            assert await page.do("Place[mug_1, on, bedroom_bed_1, None, None]") == SUCCESS
        for page in pages:
            await until(lambda page=page: bool(page.heard("closed")), "for the record")
            log = read_session_log(page.folder(tmp_path) / f"{page.play_id}.log.jsonl.gz")
            acts = [event.action for event in log.events if event.kind == "act"]
            assert acts.count("Pick[mug_1]") == 1, "sent again, taken in once"
            assert replay(log.path).difference is None

    play(server, scene)


def test_keys_held_when_a_worker_dies_are_let_go(tmp_path: Path) -> None:
    server = Server(tmp_path)

    async def scene() -> None:
        page = server.page()
        await page.open()
        page.seq += 1
        server.pool.send(Input(play_id=page.play_id, seq=page.seq, turn=1.0))
        await page.saved(page.seq)
        await until(lambda: page.picture.agents[0].yaw > 0.3)
        await server.killed("worker 0")
        await until(lambda: len(page.heard("opened")) == 2)
        tick = page.picture.tick
        await until(lambda: page.picture.tick > tick + 5)
        yaw = page.picture.agents[0].yaw
        await until(lambda: page.picture.tick > tick + 30)
        assert page.picture.agents[0].yaw == yaw

    play(server, scene)


def test_the_world_goes_on_without_inference(tmp_path: Path) -> None:
    policy_id = write_policy(tmp_path / "policy", seed=1)
    server = Server(
        tmp_path / "root",
        policy=str(tmp_path / "policy"),
        serving=ServingConfig(poll_s=0.2, device="cpu").model_dump(),
    )

    async def scene() -> None:
        page = server.page(partner="policy")
        await page.open()

        def decided() -> int:
            """Index of the partner's newest decision."""
            return max((said["decision"] for said in page.heard("partner") if said["decision"] is not None), default=-1)

        await until(lambda: decided() == 0, "for the first decision")
        await until(lambda: (now := server.pool.stats().inference) is not None and now.policy_id == policy_id)
        await server.killed("inference")
        tick = page.picture.tick
        assert await page.do("Navigate[mug_1]") == SUCCESS
        assert page.picture.tick > tick
        # Whatever it had chosen, doing something else makes it ask again.
        page.seq += 1
        override = {"play_id": page.play_id, "seq": page.seq, "decision": 0, "action": "Navigate[bedroom_bed_1]"}
        server.pool.send(Override(**override))
        await until(lambda: decided() == 2, "for a decision of the person")
        await until(lambda: decided() == 3, "for a decision of the new process")
        statuses = {said["status"] for said in page.heard("partner")}
        assert {"thinking", "acting", "done"} <= statuses
        assert server.pool.stats().inference_restarts == 1
        server.pool.send(Finish(play_id=page.play_id, seq=page.seq + 1))
        await until(lambda: bool(page.heard("closed")))
        record = read_episode_file(page.folder(tmp_path / "root") / f"{page.play_id}.json.gz")
        theirs = [decision for decision in record.decisions if decision.role == "ai"]
        assert [decision.policy_id for decision in theirs] == [policy_id, "human:ann", policy_id]
        assert all(decision.action in decision.admissible for decision in theirs)
        assert theirs[0].latency_ms > 0 and theirs[2].latency_ms > 0

    play(server, scene)


def test_plays_are_shared_out_and_refused_ones_told(tmp_path: Path) -> None:
    server = Server(tmp_path, workers=2)

    async def scene() -> None:
        pages = [server.page() for _ in range(4)]
        await asyncio.gather(*(page.open() for page in pages))
        await until(lambda: [stats and stats.plays for stats in server.pool.stats().workers] == [2, 2])
        lost = server.page()
        lost.asked = lost.asked.model_copy(update={"episode": {"episode_id": "x"}})
        server.pool.send(lost.asked)
        await until(lambda: bool(lost.heard("error")))
        assert lost.heard("error")[0]["code"] == "cannot_open"
        held = server.page()
        held.asked = pages[0].asked.model_copy(update={"play_id": pages[1].play_id, "session_id": pages[1].session_id})
        server.pool.send(held.asked)  # open already: passed over
        server.pool.send(Close(play_id="f" * 16, reason="idle"))  # unknown: passed over
        for page in pages:
            server.pool.send(Close(play_id=page.play_id, reason="aborted"))
        for page in pages:
            await until(lambda page=page: bool(page.heard("closed")))
            assert page.heard("over")[0]["reason"] == "aborted"
        assert server.pool.stats().plays == 0

    play(server, scene)


SERVER = """
import asyncio, json, sys
from pathlib import Path
from tests.ui_collect.simulation.test_pool import Server

async def main(root, plays):
    server = Server(Path(root))
    await server.pool.start()
    for asked in plays:
        page = server.page()
        page.play_id, page.session_id = asked["play_id"], asked["session_id"]
        page.asked = page.asked.model_copy(update={**asked})
        server.pages[page.play_id] = page
        await page.open(resume=True)
    print(json.dumps({name: number for name, number in server.pool.stats().processes.items()}), flush=True)
    numbers = {}
    while True:
        for play_id, page in server.pages.items():
            if page.play_id == play_id:
                if page.heard("answer") or page.seq < 0:
                    page.seq = max(page.seq, page.heard("opened")[0]["next_seq"] - 1)
                    page.act("Navigate[bedroom_bed_1]" if page.seq % 2 else "Navigate[mug_1]")
                    page.said = [said for said in page.said if said.kind != "answer"]
                saved = max((said["n"] for said in page.heard("saved")), default=-1)
                if numbers.get(play_id) != saved:
                    numbers[play_id] = saved
                    print(json.dumps({"play": play_id, "n": saved, "tick": page.picture.tick}), flush=True)
        await asyncio.sleep(0.005)

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def test_a_killed_server_takes_its_processes_along_and_loses_nothing_acknowledged(
    tmp_path: Path, source_root: Path
) -> None:
    plays = [{"play_id": secrets.token_hex(8), "session_id": secrets.token_hex(8)} for _ in range(3)]
    durable: dict[str, int] = {}
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path), json.dumps(plays)],
            cwd=source_root,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            children = [psutil.Process(number) for number in json.loads(process.stdout.readline()).values()]
            for _ in range(6 + 5 * round_):
                said = json.loads(process.stdout.readline())
                durable[said["play"]] = max(said["n"], durable.get(said["play"], -1))
        finally:
            process.kill()
            process.wait()
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert not alive
        for asked in plays:
            folder = Store.at(tmp_path).iteration("planner", 0).sessions / asked["session_id"]
            log = read_session_log(folder / f"{asked['play_id']}.log.jsonl")
            assert log.events[-1].n >= durable.get(asked["play_id"], -1)
            assert sorted(file.name for file in folder.iterdir()) == [log.path.name]
    assert set(durable) == {asked["play_id"] for asked in plays}
