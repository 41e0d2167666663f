"""Hundreds of people's connections in one event loop: they press keys and time what comes back, and do nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from benchmarks.collection.key_script import REPEATS_PER_S, presses
from ui_collect.scripted_people.crowd import quantile
from ui_collect.scripted_people.front_door import join
from ui_collect.scripted_people.page_socket import PageSocket, open_page_socket

_HEAD = struct.Struct("<BII")
_PLAY_WITHIN_S = 120.0
_TRIES = 4
_FINAL = ("thanks", "ended")


@dataclass
class Window:
    """What one client saw while it was measured.

    Attributes:
        latencies_ms: from a message to what shows that it was applied.
        unanswered: messages nothing came back for.
        received_bytes: payload received.
        seconds: how long it was measured.
        ticks_per_s: the world's speed as the client saw it; None where the server does not tell.
    """

    latencies_ms: list[float] = field(default_factory=list)
    unanswered: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    ticks_per_s: float | None = None


class LoadClient(Protocol):
    """One person's connection, to either server."""

    async def connect(self) -> None:
        """Connect and come to where keys do something."""

    async def disconnect(self) -> None:
        """Go away; ``connect`` comes back."""

    async def press_keys(self, until: float) -> None:
        """Press keys until a moment of the loop's clock."""

    def begin(self) -> None:
        """Forget what was seen so far."""

    def seen(self) -> Window:
        """What was seen since ``begin``."""


class _Timed:
    """What both kinds of clients measure."""

    def __init__(self) -> None:
        self.socket: PageSocket | None = None
        self._pending: deque[tuple[int, float]] = deque()
        self._latencies: list[float] = []
        self._began = 0.0
        self._bytes_before = 0

    def begin(self) -> None:
        self._latencies = []
        self._pending.clear()
        self._began = time.perf_counter()
        self._bytes_before = self.socket.received_bytes if self.socket is not None else 0

    def seen(self) -> Window:
        assert self.socket is not None
        now = time.perf_counter()
        # What is still under way has taken this long already.
        overdue = [(now - sent) * 1000 for _, sent in self._pending]
        return Window(
            latencies_ms=self._latencies + [latency for latency in overdue if latency > 100.0],
            unanswered=len(overdue),
            received_bytes=self.socket.received_bytes - self._bytes_before,
            seconds=now - self._began,
        )

    def _sent(self, number: int) -> None:
        self._pending.append((number, time.perf_counter()))

    def _shown(self, number: int) -> None:
        pending = self._pending
        if pending and pending[0][0] <= number:
            now = time.perf_counter()
            while pending and pending[0][0] <= number:
                self._latencies.append((now - pending.popleft()[1]) * 1000)

    async def disconnect(self) -> None:
        socket, self.socket = self.socket, None
        if socket is not None:
            socket.close()


class StreamClient(_Timed):
    """A client of the collection server: tells when a key goes down or up, and looks for the keyframe that shows it.

    Args:
        number: which one; makes out its keys.
        url: the server's.
        token: its session's.
    """

    def __init__(self, number: int, url: str, token: str) -> None:
        super().__init__()
        self._number = number
        self._stage = ""
        self._url = url
        self._token = token
        self._presses = presses(number)
        self._seq = 0
        self._playing = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = ""
        self._in_episode = False
        self._tick_first: tuple[int, float] | None = None
        self._tick_last = (0, 0.0)
        self.errors: list[str] = []

    async def connect(self) -> None:
        """See :class:`LoadClient`."""
        # As a page does: where the line breaks before there is a play, it is made again.
        for _ in range(_TRIES):
            self._playing.clear()
            self._in_episode = False
            self._stage = ""
            self._closed = ""
            self._settled.clear()
            self.socket = await open_page_socket(self._url, self)
            self._say({"type": "hello", "token": self._token, "protocol": 1})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), _PLAY_WITHIN_S)
            if self._playing.is_set():
                return
            if not self._closed or self._stage in _FINAL:
                break
        raise RuntimeError(f"client {self._number} did not come to play: {self._standing()}")

    def _standing(self) -> str:
        """What the server said last, for whoever has to find out why nothing came."""
        told = [f"stage {self._stage or 'none'}", f"last keyframe at tick {self._tick_last[0]}"]
        return ", ".join([*told, *self.errors[-3:], *([self._closed] * bool(self._closed))])

    def _say(self, message: dict[str, Any]) -> None:
        if self.socket is not None:
            self.socket.send(json.dumps(message, separators=(",", ":")))

    def begin(self) -> None:
        """See :class:`LoadClient`."""
        super().begin()
        self._tick_first = None

    def seen(self) -> Window:
        """See :class:`LoadClient`."""
        window = super().seen()
        if self._tick_first is not None and self._tick_last[1] > self._tick_first[1]:
            ticks, seconds = (last - first for last, first in zip(self._tick_last, self._tick_first, strict=True))
            window.ticks_per_s = ticks / seconds
        return window

    async def press_keys(self, until: float) -> None:
        """See :class:`LoadClient`."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            press = next(self._presses)
            await asyncio.sleep(press.wait_s)
            forward, strafe, turn = press.axes
            self._hold(forward, strafe, turn)
            await asyncio.sleep(press.hold_s)
            self._hold(0.0, 0.0, 0.0)

    def _hold(self, forward: float, strafe: float, turn: float) -> None:
        if self._playing.is_set() and self.socket is not None:
            self._say({"type": "input", "seq": self._seq, "forward": forward, "strafe": strafe, "turn": turn})
            self._sent(self._seq)
            self._seq += 1

    def on_bytes(self, data: bytes) -> None:
        """A keyframe."""
        _, tick, seq = _HEAD.unpack_from(data)
        now = time.perf_counter()
        self._tick_last = (tick, now)
        if self._tick_first is None:
            self._tick_first = self._tick_last
        if self._in_episode:
            self._playing.set()
            self._settled.set()
        self._shown(seq)

    def on_text(self, text: str) -> None:
        """A message."""
        # What the partner does and what is saved comes often and concerns a load client little.
        if text.startswith('{"type":"stage"'):
            self._on_stage(json.loads(text))
        elif text.startswith('{"type":"episode"'):
            self._seq = max(self._seq, json.loads(text)["next_seq"], 1)
            self._tick_first = None
            self._pending.clear()
        elif text.startswith('{"type":"error"'):
            self.errors.append(text)

    def _on_stage(self, message: dict[str, Any]) -> None:
        stage = self._stage = message["stage"]
        self._in_episode = stage == "episode"
        if not self._in_episode:
            self._playing.clear()
        if stage == "consent":
            self._say({"type": "consent"})
        elif stage == "tutorial":
            self._say({"type": "tutorial_done"})
        elif stage == "feedback" or (stage == "lobby" and message.get("position") is None):
            self._say({"type": "ready"})
        elif stage in _FINAL:
            self._settled.set()

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is over."""
        self._closed = f"closed {code} {reason}"
        if self._playing.is_set() and self.socket is not None and code != 1000:
            self.errors.append(self._closed)
        self._settled.set()


class ActionClient(_Timed):
    """A client of the reference server: an action for every key-down event, a picture for every action.

    Args:
        number: which one; makes out its keys.
        url: the server's.
    """

    def __init__(self, number: int, url: str) -> None:
        super().__init__()
        self._url = url
        self._path = f"/ws/person_{number}"
        self._presses = presses(number)
        self._sent_count = 0
        self._answered = 0
        self._there = asyncio.Event()

    async def connect(self) -> None:
        """See :class:`LoadClient`."""
        self._there.clear()
        self._sent_count = self._answered = 0
        self.socket = await open_page_socket(self._url, self, path=self._path, subprotocol=None)
        async with asyncio.timeout(_PLAY_WITHIN_S):
            await self._there.wait()

    async def press_keys(self, until: float) -> None:
        """See :class:`LoadClient`."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            press = next(self._presses)
            await asyncio.sleep(press.wait_s)
            message = json.dumps({"type": "action", "action": {"action": press.action}})
            down = loop.time()
            for repeat in range(max(1, round(press.hold_s * REPEATS_PER_S))):
                await asyncio.sleep(down + repeat / REPEATS_PER_S - loop.time())
                if self.socket is None:
                    return
                self._sent_count += 1
                self._sent(self._sent_count)
                self.socket.send(message)

    def on_bytes(self, data: bytes) -> None:
        """Never comes."""
        raise ValueError("the reference server sends text only")

    def on_text(self, text: str) -> None:
        """A picture."""
        if text.startswith('{"type":"init"') or text.startswith('{"type": "init"'):
            self._there.set()
            return
        if text.startswith('{"type": "step"') or text.startswith('{"type":"step"'):
            self._answered += 1
            self._shown(self._answered)

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is over."""
        return


async def stream_clients(url: str, invitation: str, numbers: Sequence[int]) -> list[StreamClient]:
    """Clients of the collection server, joined and not connected yet."""
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        return [StreamClient(number, url, await join(client, url, invitation)) for number in numbers]


@dataclass
class LoadResult:
    """What a number of clients saw together.

    Attributes:
        sessions: how many.
        p50_ms: of the latencies of all.
        p95_ms: likewise.
        bytes_per_s: received by one client, on average.
        ticks_per_s: of the slowest world; None where the server does not tell.
        late_ms_p99: how late its ticks began; 0 where the server does not tell.
        decides_ms: how long a partner's decision took, waiting included, at the median; likewise.
    """

    sessions: int
    p50_ms: float
    p95_ms: float
    bytes_per_s: float
    ticks_per_s: float | None
    late_ms_p99: float = 0.0
    decides_ms: float = 0.0


async def measure(
    clients: Sequence[LoadClient],
    *,
    warm_up_s: float,
    seconds: float,
    begin: Callable[[], Awaitable[None]] | None = None,
) -> LoadResult:
    """Have connected clients press keys, and look at a window of it.

    Args:
        clients: connected.
        warm_up_s: seconds of pressing before the window.
        seconds: the window.
        begin: awaited right before the window.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + warm_up_s + seconds
    pressing = [asyncio.create_task(client.press_keys(until + 60.0)) for client in clients]
    try:
        await asyncio.sleep(warm_up_s)
        if begin is not None:
            await begin()
        for client in clients:
            client.begin()
        await asyncio.sleep(seconds)
        windows = [client.seen() for client in clients]
    finally:
        for task in pressing:
            task.cancel()
        await asyncio.gather(*pressing, return_exceptions=True)
    latencies = sorted(latency for window in windows for latency in window.latencies_ms)
    speeds = [window.ticks_per_s for window in windows if window.ticks_per_s is not None]
    return LoadResult(
        sessions=len(clients),
        p50_ms=quantile(latencies, 0.5),
        p95_ms=quantile(latencies, 0.95),
        bytes_per_s=sum(window.received_bytes / window.seconds for window in windows) / len(windows),
        ticks_per_s=min(speeds, default=None),
    )
