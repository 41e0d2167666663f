"""The server stopped, killed and started again while people play."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import psutil
import pytest
import websockets

from flywheel.cli import run
from hitl_ops.records.session_log import read_session_log
from tests.support.collect_server import CollectServer, Person, collect_server, person, write_tasks

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


async def acknowledged(somebody: Person) -> int:
    """Act once and wait until that is on disk; returns its number in the log."""
    seq = await somebody.move("act", tool="Open", args=["kitchen_fridge_1"])
    return int((await somebody.hear("saved", lambda message: message["seq"] >= seq))["n"])


def logged(server: CollectServer) -> int:
    """The highest event number in the one open log of a play that counts."""
    logs = [read_session_log(path) for path in (server.home / "planner/000/sessions").glob("*/*.log.jsonl")]
    (log,) = [log for log in logs if not log.header.tutorial]
    return len(log.events) - 1


def test_a_killed_server_takes_every_session_up_again(tmp_path: Path) -> None:
    server = CollectServer(tmp_path / "home", "--partner", "oracle").start()
    token, lobby_token = server.join(), server.join()
    address = server.url

    async def before() -> tuple[int, int, int]:
        async with person(server, token) as ann, person(server, lobby_token) as bob:
            await bob.to_lobby()
            episode = await ann.to_episode()
            n = await acknowledged(ann)
            children = psutil.Process(server.process.pid).children(recursive=True)  # type: ignore[union-attr]
            server.kill()
            with contextlib.suppress(websockets.ConnectionClosed, TimeoutError):
                await ann.closed()
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not alive, "a child has outlived the server"
            return n, int(episode["index"]), ann.seq

    n, index, seq = asyncio.run(before())
    assert logged(server) >= n
    server.start()
    try:
        assert server.url != address or server.invitation, "a restart keeps its invitations"
        live = {row["stage"]: row for row in server.overview()["live"]}
        assert set(live) == {"episode", "lobby"}
        assert not any(row["connected"] for row in live.values())

        async def after() -> None:
            async with person(server, token) as ann, person(server, lobby_token) as bob:
                await ann.hear_stage("episode")
                episode = await ann.hear("episode")
                assert episode["resumed"] and (episode["index"], episode["next_seq"]) == (index, seq)
                await ann.frame(1)
                await ann.act("Open", "kitchen_fridge_1")  # it was under way when the server was killed
                assert (await ann.act("Pick", "mug_1"))["response"] == "Successful execution!"
                assert (await ann.act("Navigate", "living_room_couch_1"))["response"] == "Successful execution!"
                await ann.act("Place", "mug_1", "on", "living_room_couch_1", "None", "None")
                assert (await ann.hear_stage("feedback"))["result"]["success"]
                await bob.hear_stage("lobby")
                await bob.begin()

        asyncio.run(after())
    finally:
        server.kill()


def test_a_play_that_was_over_when_the_server_was_killed_is_closed_at_the_next_start(tmp_path: Path) -> None:
    server = CollectServer(tmp_path / "home", "--partner", "none").start()
    token = server.join()

    async def before() -> None:
        async with person(server, token) as ann:
            await ann.to_episode()
            await ann.move("finish")
            # The moment the log is finished, whatever the label store knows by then.
            folder = server.home / "planner/000/sessions"
            while not any(
                not log.header.tutorial and log.finish for log in map(read_session_log, folder.glob("*/*.log.jsonl*"))
            ):
                await asyncio.sleep(0.005)
            server.kill()

    asyncio.run(before())
    server.start()
    try:
        labels = server.labels
        row = labels.session_by_token(token)
        assert row is not None
        deadline = time.monotonic() + 60
        while not all(play.finished_at for play in labels.session_plays(row.id)):
            assert time.monotonic() < deadline, "the play is not closed"
            time.sleep(0.2)
        play = labels.session_plays(row.id)[-1]
        assert play.ended_by == "person"
        assert (server.home / "planner/000/sessions" / play.record_file).is_file()

        async def after() -> None:
            async with person(server, token) as ann:
                await ann.hear_stage("feedback")
                await ann.begin()

        asyncio.run(after())
    finally:
        server.kill()


def test_a_clean_stop_pauses_plays_and_leaves_no_process(tmp_path: Path) -> None:
    with collect_server(tmp_path / "home", "--partner", "none") as server:
        token = server.join()
        first_token, first_invitation = server.admin_token, server.invitation

        async def way() -> None:
            async with person(server, token) as ann:
                await ann.to_episode()
                n = await acknowledged(ann)
                children = psutil.Process(server.process.pid).children(recursive=True)  # type: ignore[union-attr]
                assert await asyncio.to_thread(server.stop) == 0
                assert await ann.closed() == 1012
                _, alive = psutil.wait_procs(children, timeout=20)
                assert not alive
                assert logged(server) >= n

        asyncio.run(way())
        (log,) = [
            log
            for log in map(read_session_log, (server.home / "planner/000/sessions").glob("*/*.log.jsonl"))
            if not log.header.tutorial
        ]
        assert log.events[-1].kind == "pause"
        assert not log.torn
        server.start()
        assert "admin token" not in server.said.rpartition("dashboard")[2], "told only once"
        assert (server.admin_token, server.invitation) == (first_token, first_invitation)
        assert server.admin("GET", "/api/overview").status_code == 200

        async def again() -> None:
            async with person(server, token) as ann:
                await ann.hear_stage("episode")
                await ann.say("end")
                await ann.hear_stage("thanks")

        asyncio.run(again())


def test_what_stands_in_the_way_of_a_start_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(home: Path, *words: str) -> str:
        assert run(["collect", "--port", "0", "--without-page", "--root", str(home), *words]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("error: ") and "\n" not in said, said
        return said

    with collect_server(tmp_path / "home", "--partner", "none") as server:
        assert "another server collects into" in refusal(server.home, "--partner", "none")
    write_tasks(tmp_path / "free")
    for words, expected in (
        (("--root", str(tmp_path / "elsewhere")), "there are no 'train' episodes"),
        (("--partner", str(tmp_path)), "is no policy's folder"),
        (("--certificate", "missing.pem", "--key", "missing.pem"), "does not exist"),
        (("--certificate", "missing.pem"), "--certificate and --key"),
        (("--labels-url", "mysql://x"), "mysql"),
        (("--host", "256.1.1.1"), "cannot listen on"),
        (("--set", "capasity=3"), "did you mean 'capacity'"),
    ):
        assert expected in refusal(tmp_path / "free", *words)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose others with --host and --port" in refusal(tmp_path / "free", "--port", port)
