"""Plays in a scene of a process of its own, which is killed: they go on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import psutil
import pytest

from hitl_ops.records.session_events import ActEvent, ControlEvent
from hitl_ops.records.session_log import read_session_log
from hitl_ops.rollouts.session_replay import ReplayedPlay, moments
from hitl_ops.worlds.household.kinematic_scene import load_scene
from hitl_ops.worlds.household.tools import SUCCESS
from tests.support.habitat_environment import BEHIND_THE_SOCKET
from tests.support.scene_workers import all_end, scene_workers
from tests.ui_collect.simulation.test_pool import Page, Server, play, until
from ui_collect.simulation.messages import Finish, Input

pytestmark = pytest.mark.integration
KILLS = 30


def server_of_scenes(root: Path) -> Server:
    return Server(root, scene=BEHIND_THE_SOCKET.model_dump())


def workers_of(server: Server) -> list[psutil.Process]:
    return scene_workers(server.pool.stats().processes["worker 0"])


def is_saved(page: Page, seq: int) -> bool:
    return any(said["seq"] >= seq for said in page.heard("saved"))


def check_log(page: Page, root: Path) -> None:
    """The log fits what the page was told, and replays to the same end, in the scene of this process too."""
    log = read_session_log(page.folder(root) / f"{page.play_id}.log.jsonl.gz")
    assert log.header.scene == "habitat"
    numbers = [event.seq for event in log.events if isinstance(event, ActEvent | ControlEvent)]
    assert numbers == sorted(set(numbers)), "something was taken in twice"
    saved = max(said["seq"] for said in page.heard("saved"))
    finish_seq = page.seq
    assert set(numbers) >= set(range(min(saved, finish_seq - 1) + 1)), "something acknowledged is lost"
    (session,) = moments(log, scene=load_scene(log.header.episode.scene_id))
    assert ReplayedPlay(log, session, session.digest()).difference is None


def test_a_play_in_a_scene_behind_the_socket_is_like_any(tmp_path: Path) -> None:
    server = server_of_scenes(tmp_path)
    seen: list[int] = []

    async def scene() -> None:
        pages = [server.page(partner="oracle"), server.page()]
        for page in pages:
            await page.open()
        seen.extend(process.pid for process in workers_of(server))
        assert len(seen) == 2, "one worker a play"
        await asyncio.gather(*(page.fetch_the_mug() for page in pages))
        for page in pages:
            await until(lambda page=page: bool(page.heard("closed")), "for the record")
            assert page.heard("closed")[0]["error"] == ""
            check_log(page, tmp_path)
        # The workers of plays that are over are not kept.
        await until(lambda: not workers_of(server), "for the workers to end")

    play(server, scene)
    assert all_end(seen)


@pytest.mark.slow
def test_thirty_kills_of_the_scene_cost_nobody_a_thing(tmp_path: Path) -> None:
    server = server_of_scenes(tmp_path)
    rng = random.Random(9)
    killed: set[int] = set()
    done: dict[str, int] = {}
    simulations: set[int | None] = set()

    async def person(page: Page) -> None:
        """Somebody who walks about and takes things up, until the scene has been killed often enough."""
        things = ["mug_1", "kettle_1", "bedroom_bed_1", "kitchen_counter_1", "lamp_1"]
        while len(killed) < KILLS:
            if rng.random() < 0.5:
                page.seq += 1
                held = Input(
                    play_id=page.play_id, seq=page.seq, forward=rng.choice([0.0, 1.0]), turn=rng.uniform(-1, 1)
                )
                server.pool.send(held)
            else:
                page.act(f"Navigate[{rng.choice(things)}]")
            await until(lambda seq=page.seq: bool(page.heard("error")) or is_saved(page, seq), "to be saved")
            assert not page.heard("error")
            done[page.play_id] = done.get(page.play_id, 0) + 1
            await asyncio.sleep(rng.uniform(0, 0.3))

    async def killer() -> None:
        in_a_row = 0
        while len(killed) < KILLS:
            await asyncio.sleep(rng.uniform(0.05, 1.0))
            in_a_row += 1
            if in_a_row > 2 or rng.random() < 0.6:
                # Now and then again at once, while what was killed is being opened: but not for ever.
                await until(
                    lambda before=dict(done): all(done[play_id] > before.get(play_id, 0) for play_id in done),
                    "to go on",
                )
                in_a_row = 0
            there = [process for process in workers_of(server) if process.pid not in killed]
            if there:
                victim = rng.choice(there)
                victim.kill()
                killed.add(victim.pid)

    async def scene() -> None:
        pages = [server.page(partner="oracle"), server.page()]
        for page in pages:
            await page.open()
        simulation = server.pool.stats().processes["worker 0"]
        simulations.add(simulation)
        await asyncio.gather(killer(), *(person(page) for page in pages))
        taken_up = sum(len(page.heard("opened")) - 1 for page in pages)
        assert taken_up >= KILLS / 3, "hardly ever was a play under way when its scene was killed"
        assert server.pool.stats().processes["worker 0"] == simulation, "the simulation process itself lived on"
        assert not [said for page in pages for said in page.heard("error")]
        for page in pages:
            # Everything still works, the kill that nobody has noticed yet included. Keys that are held would interrupt.
            page.seq += 1
            server.pool.send(Input(play_id=page.play_id, seq=page.seq))
            assert await page.do("Navigate[mug_1]") == SUCCESS
            page.seq += 1
            server.pool.send(Finish(play_id=page.play_id, seq=page.seq))
            await until(lambda page=page: bool(page.heard("closed")), "for the record")
            assert page.heard("closed")[0]["error"] == ""
            check_log(page, tmp_path)

    play(server, scene)
    assert len(killed) == KILLS
    assert all_end(killed)
    (simulation,) = simulations
    # Others' tests have workers too; a socket's folder is named after who started the worker.
    assert not [
        one for one in scene_workers() if any(f"flywheel-scene-{simulation}-" in word for word in one.cmdline())
    ]


def test_a_scene_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    server = server_of_scenes(tmp_path)

    async def scene() -> None:
        page = server.page()
        await page.open()
        while not page.heard("error"):
            for process in workers_of(server):
                process.kill()
            await asyncio.sleep(0.01)
        assert page.heard("error")[0]["code"] in ("broken", "cannot_open")
        other = server.page()
        await other.open()
        assert await other.do("Navigate[mug_1]") == SUCCESS, "other plays are not touched by it"

    play(server, scene)
