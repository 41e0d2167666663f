"""What people with bad intent, or broken programs, send: refused early, in plain words, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.support.collect_server import SUBPROTOCOL, CollectServer, collect_server, person

pytestmark = pytest.mark.integration

NASTY = [
    "../../../etc/passwd",
    "a\x00b",
    "\x1b[31m",
    "a\nb",
    "\u202egnp.exe",
    "'; DROP TABLE sessions;--",
    "<script>",
    "%2e%2e/",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectServer]:
    settings = {"joins_per_s": 100, "join_burst": 2000, "max_sockets": 40, "hello_within_s": 2, "bad_messages": 1000}
    with collect_server(
        tmp_path_factory.mktemp("hostile") / "home", "--partner", "none", "--capacity", "50", settings=settings
    ) as running:
        yield running
        assert not [line for line in running.accesses if line.get("status", 0) >= 500 and line["status"] != 503]
        assert "Traceback" not in running.said, running.said


def address(server: CollectServer) -> str:
    return server.url.replace("http", "ws", 1) + "/ws/collect"


async def dial(server: CollectServer, **keywords: Any) -> Any:
    return await connect(address(server), subprotocols=[SUBPROTOCOL], max_size=None, **keywords)  # type: ignore[list-item]


async def end_of(socket: Any) -> tuple[int, list[dict[str, Any]]]:
    """The close code, and the messages before it."""
    heard = []
    try:
        while True:
            message = await asyncio.wait_for(socket.recv(), 30)
            if isinstance(message, str):
                heard.append(json.loads(message))
    except websockets.ConnectionClosed as closed:
        return (closed.rcvd.code if closed.rcvd else 1006), heard


@pytest.mark.parametrize(
    ("first", "code", "said"),
    [
        ({"type": "hello", "token": "A" * 43, "protocol": 1}, 4003, "bad_token"),
        ({"type": "hello", "token": "A" * 43, "protocol": 2}, 1008, "protocol_version"),
        ({"type": "consent"}, 1008, "expected_hello"),
        (None, 4008, "expected_hello"),
        (b"\x00\x01", 1003, "binary_not_accepted"),
    ],
)
def test_without_a_good_hello_nothing_opens(
    server: CollectServer, first: dict[str, Any] | bytes | None, code: int, said: str
) -> None:
    async def way() -> None:
        socket = await dial(server)
        if first is not None:
            await socket.send(first if isinstance(first, bytes) else json.dumps(first))
        closed, heard = await end_of(socket)
        assert (closed, [message.get("code") for message in heard]) == (code, [said])

    asyncio.run(way())


def test_another_pages_origin_an_unknown_path_or_no_subprotocol_never_get_a_socket(server: CollectServer) -> None:
    async def refused(target: str, subprotocols: list[str], **keywords: Any) -> int:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await connect(target, subprotocols=subprotocols, **keywords)  # type: ignore[arg-type]
        return caught.value.response.status_code

    async def way() -> None:
        url = address(server)
        assert await refused(url, [SUBPROTOCOL], origin="https://evil.example") == 403
        assert await refused(url, [SUBPROTOCOL], origin="null") == 403
        assert await refused(url, ["something-else"]) == 400
        assert await refused(f"{url}/../../x", [SUBPROTOCOL]) in (403, 404)
        own = server.url
        await (await connect(url, subprotocols=[SUBPROTOCOL], origin=own)).close()  # type: ignore[list-item,arg-type]

    asyncio.run(way())
    for origin, expected in (("https://evil.example", 403), (server.url, 403), (None, 403)):
        headers = {"origin": origin} if origin else {}
        answer = httpx.post(f"{server.url}/api/join", json={"invitation": "A" * 43}, headers=headers, timeout=30)
        assert answer.status_code == expected
        assert ("invitation" in answer.json()["message"]) == (origin != "https://evil.example")


def test_control_characters_and_paths_do_no_harm_in_any_text_field(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann:
            await ann.to_episode()
            for text in NASTY:
                for message in (
                    {"type": "act", "seq": 1, "tool": text, "args": []},
                    {"type": "hello", "token": text, "protocol": 1},
                    {"type": "feedback", "key": text, "success": True},
                    {"type": text},
                    {"type": "ready", text: True},
                ):
                    await ann.socket.send(json.dumps(message))
                    answer = await ann.hear("error")
                    assert answer["code"] == "bad_message"
                    assert text not in answer["message"], "what was sent is not repeated"
                answer = await _act(ann, text)
                refused = answer.get("code") == "bad_message"
                assert refused or answer["response"] != "Successful execution!", answer
                assert text.isprintable() or refused, "control characters reach no world"
            await ann.move("skip")
            await ann.hear_stage("feedback")
            for number, text in enumerate(NASTY):
                await ann.say("feedback", key=f"nasty-{number:04d}", success=None, missing=text, problem=text)
                await ann.hear("feedback_saved")
            await ann.say("end")
            await ann.hear_stage("thanks")

    asyncio.run(way())
    stored = [label.value["missing"] for label in server.labels.labels("feedback", superseded=True)]
    assert len(stored) == len(NASTY)
    assert not any(ord(character) < 32 and character not in "\n\t" for text in stored for character in text)
    assert not any("\u202e" in text for text in stored)
    places = {path.name for path in (server.home / "planner/000/sessions").rglob("*")}
    assert all(set(name) <= set("0123456789abcdefjsonlgztrcei.") | set("session") for name in places), places
    assert not (Path(server.home).parent / "etc").exists()


async def _act(somebody: Any, text: str) -> dict[str, Any]:
    seq = await somebody.move("act", tool="Pick", args=[text])
    while True:
        message = await somebody.receive()
        if isinstance(message, dict) and (
            message["type"] == "error" or (message["type"] == "answer" and message["seq"] == seq)
        ):
            return message


def test_broken_json_huge_numbers_and_wrong_types_are_refused_one_by_one(server: CollectServer) -> None:
    bad = [
        "",
        "null",
        "[]",
        "{",
        '"hello"',
        '{"type":"input","seq":1,"forward":NaN,"strafe":0,"turn":0}',
        '{"type":"input","seq":99999999999999999999999999,"forward":0,"strafe":0,"turn":0}',
        '{"type":"input","seq":1,"forward":1e999,"strafe":0,"turn":0}',
        '{"type":"input","seq":"1","forward":0,"strafe":0,"turn":0}',
        '{"type":"act","seq":1,"tool":"Pick","args":"mug_1"}',
        '{"type":"act","seq":1,"tool":"Pick","args":[["a"]]}',
        '{"type":"feedback","key":"abcdefgh","missing":"\\ud800"}',
        '{"type":"ping","t":"now"}',
        "[" * 2000,
        '{"a":' * 600 + "1" + "}" * 600,
    ]

    async def way() -> None:
        async with person(server) as ann:
            await ann.to_episode()
            for text in bad:
                await ann.socket.send(text)
                assert (await ann.hear("error"))["code"] == "bad_message"
            await ann.say("ping", t=1)
            await ann.hear("pong")

    asyncio.run(way())


def test_a_number_out_of_order_changes_nothing(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann:
            await ann.to_episode()
            await ann.say("act", seq=100, tool="Open", args=["kitchen_fridge_1"])
            assert (await ann.hear("answer"))["seq"] == 100
            for seq in (100, 99, 5, 0):
                await ann.say("act", seq=seq, tool="Close", args=["kitchen_fridge_1"])
            await ann.say("act", seq=101, tool="Pick", args=["mug_1"])
            answer = await ann.hear("answer")
            assert (answer["seq"], answer["response"]) == (101, "Successful execution!"), "the fridge is still open"

    asyncio.run(way())


def test_an_override_of_a_decision_that_was_never_made_is_refused(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann:
            await ann.to_episode()
            await ann.move("override", decision=4000, tool="Wait", args=[])
            assert (await ann.hear("error"))["code"] == "unknown_decision"

    asyncio.run(way())


def test_a_message_too_large_ends_the_connection(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann:
            await ann.hear_stage("consent")
            await ann.socket.send(json.dumps({"type": "consent", "padding": "x" * 5000}))
            assert await ann.closed() == 1009
        async with person(server) as bob:
            await bob.hear_stage("consent")
            # In pieces, too.
            with pytest.raises(websockets.ConnectionClosed):
                await bob.socket.send("x" * 1000 for _ in range(100))
                await bob.socket.wait_closed()
                await bob.socket.send("x")

    asyncio.run(way())


def test_too_many_messages_end_the_connection_and_the_session_goes_on(server: CollectServer) -> None:
    async def way() -> None:
        token = server.join()
        async with person(server, token) as ann:
            await ann.hear_stage("consent")
            with contextlib.suppress(websockets.ConnectionClosed):
                for number in range(2000):
                    await ann.say("ping", t=number)
            code, heard = await end_of(ann.socket)
            assert code == 1008
            assert "too_fast" in [message.get("code") for message in heard]
            assert len([message for message in heard if message["type"] == "pong"]) <= 250
        async with person(server, token) as again:
            await again.hear_stage("consent")

    asyncio.run(way())


def test_one_session_sees_nothing_of_another(server: CollectServer) -> None:
    async def way() -> None:
        async with person(server) as ann, person(server) as eve:
            await ann.to_episode()
            await eve.to_episode()
            (play,) = [
                play
                for play in server.labels.open_plays(of_ended_sessions=False)
                if not play.tutorial and play.session_id == _session_of(server, 0)
            ]
            for extra in ({"play_id": play.id}, {"session_id": play.session_id}, {"token": "A" * 43}):
                await eve.socket.send(json.dumps({"type": "act", "seq": 0, "tool": "Open", "args": ["x"], **extra}))
                assert (await eve.hear("error"))["code"] == "bad_message"
            await ann.act("Open", "kitchen_fridge_1")
            assert not any(message["type"] == "answer" for message in eve.messages)
            assert play.id not in json.dumps(eve.messages) + json.dumps(ann.messages)
            assert play.session_id not in json.dumps(eve.messages) + json.dumps(ann.messages)

    asyncio.run(way())


def _session_of(server: CollectServer, number: int) -> str:
    playing = [row for row in server.overview()["live"] if row["stage"] == "episode" and row["connected"]]
    return str(playing[number]["session"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/../../etc/passwd", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/assets/..%2f..%2fserver.py", 404),
        ("/admin/assets/..%2fdashboard.html", 404),
        ("/admin/assets/dashboard.html", 404),
        ("/docs", 404),
        ("/openapi.json", 404),
        ("/%00", 404),
        ("/admin/api/overview", 401),
        ("/admin/invitations", 401),
    ],
)
def test_paths_lead_nowhere_else(server: CollectServer, path: str, expected: int) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert int(answer.split()[1]) == expected
    assert b"root:" not in answer and b"import " not in answer
    assert b"content-security-policy" in answer.lower()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"invitation": 5}',
        b'{"invitation": "../../x"}',
        b'{"invitation": "%s"}' % (b"A" * 200),
    ],
)
def test_a_join_without_sense_is_a_bad_request(server: CollectServer, body: bytes) -> None:
    answer = httpx.post(
        f"{server.url}/api/join", content=body, headers={"content-type": "application/json"}, timeout=30
    )
    assert answer.status_code == 400
    assert answer.json() == {"code": "bad_request", "message": "The request is not valid."}


def test_a_body_too_large_is_not_read(server: CollectServer) -> None:
    answer = httpx.post(f"{server.url}/api/join", content=b"x" * 100_000, timeout=30)
    assert answer.status_code == 413


def test_a_thousand_connections_at_once_are_bounded_and_the_server_stays(server: CollectServer) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss

    async def one(number: int) -> str:
        try:
            async with asyncio.timeout(60):
                socket = await dial(server, open_timeout=60)
        except websockets.InvalidStatus as refused:
            return str(refused.response.status_code)
        except (OSError, TimeoutError, websockets.WebSocketException):
            return "cut"
        await asyncio.sleep(1)
        await socket.close()
        return "open"

    async def way() -> list[str]:
        async with person(server) as ann:
            await ann.to_episode()
            outcomes = await asyncio.gather(*(one(number) for number in range(1000)))
            await ann.act("Open", "kitchen_fridge_1")
            return outcomes

    outcomes = asyncio.run(way())
    assert set(outcomes) <= {"open", "503", "429", "cut"}
    assert outcomes.count("503") > 500
    figures = server.overview()["connections"]
    assert figures["peak"] <= figures["limit"] == 40
    assert figures["refused"] > 0
    assert process.memory_info().rss - before < 100 * 2**20


def test_connections_that_say_nothing_are_cut_off(server: CollectServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(20)]
    for number, raw in enumerate(silent):
        if number % 2:
            raw.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    for raw in silent:
        with raw:
            try:
                left = raw.recv(1000)
            except ConnectionResetError:
                left = b""
            assert left == b"" or left.startswith(b"HTTP/1.1 4")


def test_joining_is_limited_per_address(tmp_path: Path) -> None:
    settings = {"joins_per_s": 0.01, "join_burst": 3}
    with collect_server(tmp_path / "home", "--partner", "none", settings=settings) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            codes = [client.post("/api/join", json={"invitation": server.invitation}).status_code for _ in range(6)]
        assert codes == [200, 200, 200, 429, 429, 429]
