"""Thousands of frames that no page would send: the server answers each or closes, and goes on serving others."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.collect_server import SUBPROTOCOL, CollectServer, Person, collect_server, person

pytestmark = [pytest.mark.integration, pytest.mark.slow]

FRAMES = 20_000
_EXAMPLES, _PER_EXAMPLE = 900, 25
NO_LIMITS = {"messages_per_s": 1e6, "message_burst": 1_000_000, "bad_messages": 1_000_000, "tasks_per_session": 1000}

KINDS = ["hello", "consent", "tutorial_done", "ready", "input", "act", "override", "skip", "finish", "feedback", "ping"]
TOOLS = ["Navigate", "Pick", "Place", "Open", "Close", "Explore", "Wait", "Done", "Rearrange", "Clean", "FindRoomTool"]
NAMES = ["mug_1", "kitchen_fridge_1", "living_room_couch_1", "kitchen_1", "on", "within", "None", "floor_kitchen_1"]

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.sampled_from(["../../x", "\x00", "\ud800", "a" * 3000, "\u202e", "[", "]", ","]),
)
values = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=6
)
near = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "seq": st.integers(-2, 5000) | values,
        "forward": st.floats(-1, 1) | values,
        "strafe": st.floats(-1, 1) | values,
        "turn": st.floats(-1, 1) | values,
        "tool": st.sampled_from(TOOLS) | values,
        "args": st.lists(st.sampled_from(NAMES) | st.text(max_size=70), max_size=6) | values,
        "decision": st.integers(-1, 20) | values,
        "token": st.text(max_size=60) | values,
        "protocol": st.integers() | values,
        "key": st.text(alphabet="abcdefgh0123", min_size=6, max_size=12) | values,
        "success": st.booleans() | values,
        "missing": st.text(max_size=100) | values,
        "problem": st.text(max_size=100) | values,
        "again": st.booleans() | values,
        "t": st.floats() | values,
        "x": values,
    },
)
valid = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("input"),
            "seq": st.integers(0, 10_000),
            "forward": st.floats(-1, 1),
            "strafe": st.floats(-1, 1),
            "turn": st.floats(-1, 1),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("act"),
            "seq": st.integers(0, 10_000),
            "tool": st.sampled_from(TOOLS),
            "args": st.lists(st.sampled_from(NAMES), max_size=5),
        }
    ),
)
frames = st.one_of(
    near.map(json.dumps),
    valid.map(json.dumps),
    values.map(json.dumps),
    st.text(max_size=300),
    st.builds(lambda text, cut: text[:cut], valid.map(json.dumps), st.integers(0, 60)),
    st.sampled_from(["", "{", "[" * 3000, '{"type":"input"', "x" * 4097]),
    st.binary(max_size=40),
)


class Fuzzed:
    """A person on one connection at a time, in the middle of an episode; dials again when cut off."""

    def __init__(self, server: CollectServer) -> None:
        self.server = server
        self.token = server.join()
        self.sent = 0
        self.closed: dict[int, int] = {}
        self._somebody: Person | None = None

    async def connected(self) -> Person:
        if self._somebody is None:
            address = self.server.url.replace("http", "ws", 1) + "/ws/collect"
            socket = await websockets.connect(address, subprotocols=[SUBPROTOCOL], max_size=None)  # type: ignore[list-item]
            self._somebody = Person(socket)
            await self._somebody.say("hello", token=self.token, protocol=1)
            await self._somebody.hear("welcome")
        return self._somebody

    async def send(self, batch: list[Any]) -> None:
        """Send all frames of a batch, then ask for a sign of life."""
        for frame in batch:
            somebody = await self.connected()
            try:
                # A lone surrogate cannot be sent as text at all; its bytes can.
                text = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
                await somebody.socket.send(text, text=not isinstance(frame, bytes))
                self.sent += 1
            except websockets.ConnectionClosed as closed:
                self._cut(closed)
        somebody = await self.connected()
        try:
            await somebody.say("ping", t=self.sent)
            await somebody.hear("pong", lambda message: message["t"] == self.sent)
        except websockets.ConnectionClosed as closed:
            self._cut(closed)
        if self._somebody is not None:
            for message in self._somebody.messages:
                assert message.get("code") != "server_error", message
            self._somebody.messages.clear()
            self._somebody.frames.clear()

    def _cut(self, closed: websockets.ConnectionClosed) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        self.closed[code] = self.closed.get(code, 0) + 1
        self._somebody = None


def test_frames_no_page_would_send(tmp_path: Path) -> None:
    limits = {**NO_LIMITS, "joins_per_s": 10_000, "join_burst": 10_000, "idle_warning_s": 900, "idle_end_s": 1000}
    with collect_server(tmp_path / "home", "--partner", "oracle", settings=limits) as server:
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        fuzzed = Fuzzed(server)
        with asyncio.Runner() as runner:

            async def into_an_episode(token: str) -> None:
                async with person(server, token) as somebody:
                    await somebody.to_episode()

            runner.run(into_an_episode(fuzzed.token))
            memory: list[int] = []

            @settings(
                max_examples=_EXAMPLES,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.lists(frames, min_size=_PER_EXAMPLE, max_size=_PER_EXAMPLE))
            def fuzz(batch: list[Any]) -> None:
                runner.run(fuzzed.send(batch))
                memory.append(process.memory_info().rss)

            fuzz()
            assert fuzzed.sent >= FRAMES
            # 1006: frames were still under way to a connection that was closed.
            assert set(fuzzed.closed) <= {1003, 1006, 1007, 1009}, fuzzed.closed
            assert max(memory[len(memory) // 2 :]) - memory[len(memory) // 4] < 60 * 2**20, "memory grows"

            async def somebody_else() -> None:
                async with person(server) as bob:
                    await bob.to_episode()
                    await bob.act("Open", "kitchen_fridge_1")

            runner.run(somebody_else())
        assert server.overview()["loop_lag"]["p99_ms"] < 500
        bad = [line for line in server.accesses if line.get("status", 0) >= 500]
        assert not bad, bad
        assert "Traceback" not in server.said, server.said[-3000:]
