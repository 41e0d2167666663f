"""People who go quiet, go away, or do not come back; with short times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from hitl_ops.labels.rows import SessionRow
from tests.support.collect_server import CollectServer, collect_server, person

pytestmark = pytest.mark.integration

SHORT = {"idle_warning_s": 2, "idle_end_s": 5, "reconnect_within_s": 4, "queue_grace_s": 1}
OFTEN = {"joins_per_s": 1000, "join_burst": 1000}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    with collect_server(
        tmp_path_factory.mktemp("absence") / "home", "--partner", "none", settings={**SHORT, **OFTEN}
    ) as running:
        yield running


def ended(server: CollectServer, token: str, within_s: float = 60) -> SessionRow:
    labels = server.labels
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        row = labels.session_by_token(token)
        assert row is not None
        if row.ended_at is not None:
            return row
        time.sleep(0.2)
    raise AssertionError("the session goes on")


def test_a_quiet_person_is_warned_may_take_it_back_and_is_let_go_at_last(server: CollectServer) -> None:
    token = server.join()

    async def way() -> None:
        async with person(server, token) as ann:
            await ann.to_episode()
            warning = await ann.hear("idle")
            assert 1 <= warning["seconds_left"] <= 3
            await ann.say("ping", t=1)
            await ann.hear("pong")
            assert ann.messages[-1]["type"] == "pong", "a ping is no sign of a person"
            await ann.move("input", forward=1, strafe=0, turn=0)
            assert "seconds_left" not in await ann.hear("idle")
            await ann.hear("idle", lambda message: "seconds_left" in message)
            assert (await ann.hear_stage("ended"))["message"]
            assert await ann.closed() == 4010

    asyncio.run(way())
    row = ended(server, token)
    assert row.end_reason == "idle"
    (play,) = [play for play in server.labels.session_plays(row.id) if not play.tutorial]
    assert (play.ended_by, play.success) == ("idle", False)
    assert (server.home / "planner/000/sessions" / play.record_file).is_file()


def test_whoever_comes_back_in_time_goes_on_and_whoever_does_not_has_left(server: CollectServer) -> None:
    token = server.join()

    async def way() -> None:
        async with person(server, token) as ann:
            await ann.to_episode()
            await ann.act("Open", "kitchen_fridge_1")
        await asyncio.sleep(2)
        async with person(server, token) as again:
            await again.hear_stage("episode")

    asyncio.run(way())
    row = ended(server, token)
    assert row.end_reason == "aborted"
    (play,) = [play for play in server.labels.session_plays(row.id) if not play.tutorial]
    assert play.ended_by == "aborted"
    assert (server.home / "planner/000/sessions" / play.record_file).is_file()
    assert row.id not in {live["session"] for live in server.overview()["live"]}

    async def late() -> None:
        async with person(server, token) as ann:
            assert (await ann.hear_stage("ended"))["totals"]["episodes"] == 1
            assert await ann.closed() == 4010

    asyncio.run(late())


def test_whoever_leaves_with_much_unread_is_let_go_at_once(server: CollectServer) -> None:
    token = server.join()

    async def way() -> float:
        async with person(server, token) as ann:
            await ann.to_episode()
            for _ in range(40):
                await ann.say("ping", t=1)
            await asyncio.sleep(1)
            assert server.overview()["connections"]["now"] == 1
            left = time.monotonic()
        return left

    left = asyncio.run(way())
    assert time.monotonic() - left < 2, "the line closes however much of it nobody has read"
    while server.overview()["connections"]["now"]:
        assert time.monotonic() - left < 2, "the server keeps no place for whoever has gone"
        time.sleep(0.05)
    assert ended(server, token).end_reason == "aborted"


def test_waiting_in_the_queue_is_not_idling(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("queue") / "home"
    with collect_server(home, "--partner", "none", "--capacity", "1", settings=SHORT) as server:

        async def way() -> None:
            async with person(server) as ann:
                await ann.to_episode()
                async with person(server) as bob:
                    await bob.hear_stage("consent")
                    await bob.say("consent")
                    await bob.hear_stage("lobby")
                    heard = len(bob.messages)
                    for _ in range(6):
                        await asyncio.sleep(1)
                        await ann.move("input", forward=0, strafe=0, turn=0)
                    await bob.say("ping", t=1)
                    await bob.hear("pong")
                    assert [message["type"] for message in bob.messages[heard:]] == ["pong"]

        asyncio.run(way())


def test_seconds_are_kept_once_however_often_the_line_breaks(server: CollectServer) -> None:
    token = server.join()
    began = time.monotonic()

    async def way() -> None:
        async with person(server, token) as ann:
            await ann.to_episode()
        # A break may come while the store is still being told of the one before.
        for _ in range(40):
            async with person(server, token) as ann:
                await ann.hear_stage("episode")
                await ann.move("input", forward=1, strafe=0, turn=0)

    asyncio.run(way())
    took = time.monotonic() - began
    row = ended(server, token)
    assert 0 <= row.seconds_active <= took + 1
    assert "out of range" not in server.said
