"""A person's way through a session, over real sockets: consent to thanks, a reload, a second window, a full house."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hitl_ops.records.session_export import read_episode_file, read_session_file
from tests.support.collect_server import CollectServer, collect_server, person

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    home = tmp_path_factory.mktemp("collect") / "home"
    with collect_server(
        home,
        "--partner",
        "oracle",
        "--capacity",
        "2",
        settings={"tasks_per_session": 2, "queue_grace_s": 2},
        shared_tasks=True,
    ) as running:
        yield running


def sessions_of(server: CollectServer) -> dict[str, Any]:
    return {row["session"]: row for row in server.overview()["live"]}


def test_from_the_invitation_to_thanks_and_everything_said_is_kept(server: CollectServer) -> None:
    async def way() -> str:
        async with person(server) as ann:
            await ann.hear("welcome")
            await ann.hear_stage("consent")
            await ann.say("ready")
            assert (await ann.hear("error"))["code"] == "not_now"
            await ann.say("consent")
            await ann.hear_stage("tutorial")
            tutorial = await ann.hear("episode")
            assert tutorial["tutorial"] and tutorial["episode_number"] == 0
            await ann.frame(1)
            await ann.solve()
            await ann.hear_stage("lobby")

            first = await ann.begin()
            assert (first["episode_number"], first["attempt"], first["of"], first["resumed"]) == (1, 1, 2, False)
            assert first["scene"]["rooms"] and first["objects"] == ["mug_1", "book_1"]
            (session,) = sessions_of(server)
            await ann.hear("missing", lambda message: len(message["lines"]) > 0)
            thinking = await ann.hear("partner", lambda message: message["status"] == "acting")
            seq = await ann.move("override", decision=thinking["decision"], tool="Wait", args=[])
            moved = await ann.move("input", forward=1, strafe=0, turn=0.5)
            assert (await ann.hear("saved", lambda message: message["seq"] >= moved))["n"] > 0
            assert seq < moved
            await ann.move("skip")
            result = (await ann.hear_stage("feedback"))["result"]
            assert (result["success"], result["ended_by"], result["attempts_left"]) == (False, "skip", 2)
            assert result["missing"]
            for _ in range(2):
                await ann.say(
                    "feedback", key="first-feedback", success=False, missing="the\u202e mug\x00", problem="too dark"
                )
                assert (await ann.hear("feedback_saved"))["key"] == "first-feedback"

            second = await ann.begin(again=True)
            assert (second["episode_number"], second["attempt"]) == (1, 2)
            await ann.solve()
            result = (await ann.hear_stage("feedback"))["result"]
            assert (result["success"], result["percent_complete"], result["ended_by"]) == (True, 1.0, "task")
            await ann.say("ready", again=True)
            assert (await ann.hear("error"))["code"] == "too_many"

            third = await ann.begin()
            assert (third["episode_number"], third["attempt"]) == (2, 1)
            await ann.move("finish")
            assert (await ann.hear_stage("feedback"))["result"]["ended_by"] == "person"
            await ann.say("ready")
            thanks = await ann.hear_stage("thanks")
            assert (thanks["totals"]["episodes"], thanks["totals"]["successes"]) == (3, 1)
            assert await ann.closed() == 4010
            return session

    session = asyncio.run(way())
    labels = server.labels
    plays = [play for play in labels.session_plays(session) if not play.tutorial]
    assert [(play.attempt, play.success, play.ended_by) for play in plays] == [
        (1, False, "skip"),
        (2, True, "task"),
        (1, False, "person"),
    ]
    assert plays[0].episode_id == plays[1].episode_id != plays[2].episode_id
    assert plays[0].reported and not plays[1].reported

    (feedback,) = labels.labels("feedback", session_id=session)
    assert feedback.value == {"success": False, "missing": "the mug", "problem": "too dark"}
    (problem,) = labels.labels("problem", session_id=session)
    assert problem.value == {"problem": "too dark"}
    (correction,) = labels.labels("correction", session_id=session)
    assert correction.episode_play_id == plays[0].id
    value = correction.value
    assert (value["corrected"], value["policy_id"]) == ("Wait[]", "oracle-partial")
    assert value["original"] and value["original"] != "Wait[]"
    assert "Wait[]" in value["admissible"] and value["prompt"].endswith("<act>")

    folder = server.home / "planner" / "000" / "sessions"
    for play in plays:
        episode = read_episode_file(folder / play.record_file)
        assert episode.metrics.task_percent_complete == play.percent_complete
        assert episode.decisions
    # The session's own file is written beside, once its plays are closed.
    until = time.monotonic() + 60
    while not (folder / session / "session.json.gz").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert read_session_file(folder / session / "session.json.gz").session.session_id == session
    (row,) = [row for row in [labels.session(session)] if row is not None]
    assert (row.stage, row.end_reason) == ("ended", "done")
    assert row.seconds_active > 0


def test_a_reload_in_the_middle_goes_on_at_the_same_state(server: CollectServer) -> None:
    async def way() -> None:
        token = server.join()
        async with person(server, token) as ann:
            first = await ann.to_episode()
            await ann.act("Open", "kitchen_fridge_1")
            answer = await ann.act("Pick", "mug_1")
            assert answer["response"] == "Successful execution!"
            tick = max((await ann.frame(2))[0], 0)
            seq = ann.seq
        await asyncio.sleep(1.5)  # the world stands still meanwhile
        async with person(server, token) as again:
            await again.hear_stage("episode")
            second = await again.hear("episode")
            assert second["resumed"] and second["index"] == first["index"]
            assert second["next_seq"] == seq
            tick_now, _ = await again.frame(1)
            assert 0 <= tick_now - tick <= 30, "the world went on while nobody was there"
            await again.act("Navigate", "living_room_couch_1")
            placed = await again.act("Place", "mug_1", "on", "living_room_couch_1", "None", "None")
            assert placed["response"] == "Successful execution!"
            assert (await again.hear_stage("feedback"))["result"]["success"]
        async with person(server, token) as third:
            assert (await third.hear_stage("feedback"))["result"]["success"]
            await third.say("end")
            await third.hear_stage("thanks")
        async with person(server, token) as late:
            assert (await late.hear_stage("thanks"))["totals"]["successes"] == 1
            assert await late.closed() == 4010

    asyncio.run(way())


def test_a_newer_window_takes_over_and_the_older_one_is_heard_no_more(server: CollectServer) -> None:
    async def way() -> None:
        token = server.join()
        async with person(server, token) as older:
            await older.to_episode()
            async with person(server, token) as newer:
                await newer.hear_stage("episode")
                await newer.hear("episode")
                await newer.frame(1)
                assert (await older.hear("error"))["code"] == "taken_over"
                assert await older.closed() == 4001
                await newer.say("end")
                await newer.hear_stage("thanks")

    asyncio.run(way())


def test_a_full_house_makes_people_wait_their_turn(server: CollectServer) -> None:
    def available() -> tuple[int, dict[str, int]]:
        answer = httpx.get(f"{server.url}/available", timeout=30)
        return answer.status_code, answer.json()

    async def way() -> None:
        assert await asyncio.to_thread(available) == (200, {"free": 2, "capacity": 2, "waiting": 0})
        async with person(server) as ann, person(server) as bob, person(server) as cid, person(server) as dee:
            await ann.to_lobby()
            await bob.to_lobby()
            for position, waiting in enumerate((cid, dee), start=1):
                await waiting.hear_stage("consent")
                await waiting.say("consent")
                assert (await waiting.hear_stage("lobby"))["position"] == position
            assert await asyncio.to_thread(available) == (503, {"free": 0, "capacity": 2, "waiting": 2})
            await dee.say("ready")
            assert (await dee.hear_stage("lobby"))["position"] == 2, "no pushing in"
            await ann.say("end")
            await ann.hear_stage("thanks")
            await cid.hear_stage("tutorial")
            assert (await dee.hear_stage("lobby"))["position"] == 1
            # Bob goes without a word; after a while his place is given away.
            await bob.socket.close()
            await dee.hear_stage("tutorial")
            for somebody in (cid, dee):
                await somebody.say("end")
                await somebody.hear_stage("thanks")

    asyncio.run(way())


def test_the_last_page_tells_what_it_came_to_and_logs_hold_no_token(server: CollectServer) -> None:
    async def way() -> str:
        token = server.join()
        async with person(server, token) as ann:
            await ann.hear_stage("consent")
            await ann.say("ping", t=12.5)
            assert (await ann.hear("pong"))["t"] == 12.5
            await ann.say("end")
            assert (await ann.hear_stage("thanks"))["totals"] == {"episodes": 0, "successes": 0, "minutes": 0.0}
        return token

    token = asyncio.run(way())
    kept = [server.said, (server.home / "collection" / "access.jsonl").read_text()]
    for file in (server.home / "planner").rglob("*"):
        if file.is_file():
            kept.append((gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode())
    assert not any(token in text for text in kept)
    assert server.admin_token not in json.dumps(server.accesses)
    database = b"".join(path.read_bytes() for path in Path(server.home).glob("labels.db*"))
    for secret in (token, server.invitation):
        assert secret.encode() not in database
