"""Scripted people at a real server: whole visits, many at once with broken lines, and a server that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.collection.server_process import CollectServer
from benchmarks.collection.soak import run_soak
from hitl_ops.contracts.episode import write_episodes
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.rollouts.episode_sets import episode_file, generate_episode
from tests.support.collect_server import write_tasks
from ui_collect.scripted_people.audit import audit
from ui_collect.scripted_people.crowd import Crowd, run_crowd
from ui_collect.scripted_people.people_settings import PeopleSettings
from ui_collect.scripted_people.person import Person

pytestmark = pytest.mark.integration

_MANY = ("--set", "joins_per_s=1000", "--set", "join_burst=1000", "--set", "tasks_per_session=1000")
# Thirty take minutes, most of them starts; FLYWHEEL_TEST_KILLS=30 makes them all.
_KILLS = int(os.environ.get("FLYWHEEL_TEST_KILLS", "8"))


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    """Small tasks; real ones for the long tests."""
    found = Store.at(tmp_path / "served")
    if request.node.get_closest_marker("slow"):
        write_episodes(episode_file(found.episodes, "train"), [generate_episode("train", index) for index in range(8)])
    else:
        write_tasks(found.root)
    return found


@pytest.fixture
def server(store: Store) -> Iterator[CollectServer]:
    started = CollectServer(
        store.root, ["--workers", "1", "--partner", "oracle", "--capacity", "30", *_MANY], invite=60
    )
    with started:
        yield started


def settings(people: int, **person: object) -> PeopleSettings:
    quick = {"speed": 4.0, "tutorial": False, **person}
    return PeopleSettings.model_validate({"people": people, "arrive_s": 0.05, "person": quick})


def test_visits_from_the_invitation_to_the_thanks_and_an_audit_of_them(store: Store, server: CollectServer) -> None:
    wanted = settings(3, tutorial=True, by_name=0.5).replace(episodes=1, seed=5)
    crowd = asyncio.run(run_crowd(server.url, server.invitation, wanted))
    summary = crowd.summary
    assert summary.defects == [] and summary.ended == {"thanks": 3}
    assert (summary.plays, summary.successes) == (3, 3)
    assert summary.acts > 6 and summary.latency_ms_p95 > 0 and summary.bytes_per_s > 0
    assert all(len(person.page.ledgers) == 2 for person in crowd.people), "a tutorial and an episode each"
    server.stop()
    labels = LabelStore.open(store.labels_url)
    found = audit(store, labels, crowd.people)
    assert found.clean, found
    assert (found.plays, found.closed) == (6, 6) and found.acknowledged > 20
    assert len(labels.labels("feedback")) == 3

    # The same audit notices what is gone or changed.
    first = crowd.people[:1]
    ledger = next(ledger for ledger in first[0].page.ledgers.values() if not ledger.tutorial)
    seq = next(seq for seq, said in ledger.said.items() if said.kind == "act")
    ledger.said[seq].what = "Pick[something_else]"
    ledger.saved_n += 1000
    session = labels.session_by_token(first[0].token)
    assert session is not None
    play = next(play for play in labels.session_plays(session.id) if not play.tutorial)
    record = store.iteration("planner", 0).sessions / play.record_file
    record.rename(record.with_name(f"{record.name}.part-1"))
    spoiled = audit(store, labels, first)
    assert len(spoiled.lost) == 2 and len(spoiled.invalid) == 1 and len(spoiled.half_files) == 1


def test_the_verb_prints_what_happened(server: CollectServer) -> None:
    words = [sys.executable, "-m", "flywheel", "people", server.link, "-n", "2", "--episodes", "1", "--speed", "4"]
    words += ["--seed", "3", "--json", "--set", "person.tutorial=false", "--coach", str(server.root / "episodes")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["people"], summary["plays"], summary["successes"]) == (2, 2, 2)
    assert summary["defects"] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_people_for_half_a_minute_with_broken_lines(store: Store, server: CollectServer) -> None:
    # More breaks in this half minute than 5 % of the connections every ten seconds make in five.
    person = {"skill": 0.9, "drops_per_minute": 4.0, "away_s": 1.0, "overrides": 0.1, "skips": 0.15, "speed": 2.0}
    wanted = PeopleSettings.model_validate({"people": 20, "duration_s": 30.0, "arrive_s": 0.1, "person": person})
    result = run_soak(server, store, wanted)
    summary = result.crowd.summary
    assert summary.defects == []
    assert summary.drops > 5 and summary.resumed > 5
    assert summary.plays > 3 and summary.overrides > 0
    assert result.audit.clean, result.audit
    assert result.audit.acknowledged > 500 and result.audit.closed >= summary.plays
    assert result.left_open == 0
    assert result.growth < 1.5, f"memory: {result.memory_mb}"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_server_killed_again_and_again_loses_nothing_it_acknowledged(store: Store, server: CollectServer) -> None:
    luck = random.Random(11)
    kept: list[int] = []

    async def kill_again_and_again(people: list[Person]) -> None:
        for _ in range(_KILLS):
            await asyncio.sleep(luck.uniform(0.2, 3.0))
            welcomes = [person.page.welcomes for person in people]
            open_before = [person for person in people if not person.report.ended]
            children = psutil.Process(server.pid).children(recursive=True)
            await asyncio.to_thread(server.kill)
            _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
            assert not alive, "a child has outlived the server"
            await asyncio.to_thread(server.start)
            until = time.monotonic() + 90
            while any(
                not person.report.ended and (person.page.welcomes == before or person.page.stage is None)
                for person, before in zip(people, welcomes, strict=True)
            ):
                assert time.monotonic() < until, "somebody was not taken up again"
                await asyncio.sleep(0.05)
            assert not any(person.report.ended for person in open_before), "a session ended by the kill"
            kept.append(len(open_before))
        for person in people:
            person.leave()

    async def play() -> Crowd:
        killers: list[asyncio.Task[None]] = []

        def arrived(people: list[Person]) -> None:
            killers.append(asyncio.create_task(kill_again_and_again(people)))

        wanted = settings(6, away_s=0.1, overrides=0.1, skips=0.1).replace(duration_s=1200.0)
        try:
            return await run_crowd(server.url, server.invitation, wanted, arrived=arrived)
        finally:
            if not killers[0].done():
                killers[0].cancel()
            await killers[0]

    crowd = asyncio.run(play())
    assert len(kept) == _KILLS and min(kept) == 6
    assert crowd.summary.defects == [] and crowd.summary.resumed > _KILLS
    server.stop()
    found = audit(store, LabelStore.open(store.labels_url), crowd.people)
    assert found.clean, found
    assert found.acknowledged > 10 * _KILLS
