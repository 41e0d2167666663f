"""A person's line to the server: one page that outlives the sockets it hears through."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ui_collect import protocol
from ui_collect.protocol import Message
from ui_collect.scripted_people.page import Page
from ui_collect.scripted_people.page_socket import ConnectionRefused, PageSocket, open_page_socket

_PATIENCE_S = 120.0
"""Seconds a server that does not answer is tried again: it may be starting."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 2.0


class LineBroke(Exception):
    """The connection is gone."""


@dataclass
class Traffic:
    """What went over all sockets of a line."""

    received_bytes: int = 0
    sent_bytes: int = 0
    connected_s: float = 0.0


@dataclass
class Line:
    """Connects, speaks and waits.

    Attributes:
        url: the server's.
        token: the session's.
        page: what came.
        defects: what the server did that the protocol does not allow.
    """

    url: str
    token: str
    page: Page = field(default_factory=Page)
    defects: list[str] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    _socket: PageSocket | None = None
    _ears: _Ears | None = None
    _connected_at: float = 0.0

    @property
    def open(self) -> bool:
        """Whether what is said now goes out."""
        return self._socket is not None and self._socket.open

    async def connect(self, luck: random.Random) -> None:
        """Connect and say hello.

        Args:
            luck: spreads out the tries of many.

        Raises:
            ConnectionRefused: the server refuses for good, or is not there for two minutes.
        """
        self.page.connecting()
        until = time.monotonic() + _PATIENCE_S
        wait = _FIRST_WAIT_S
        while True:
            ears = self._ears = _Ears(self)
            try:
                self._socket = await open_page_socket(self.url, ears)
                break
            except ConnectionRefused as error:
                if time.monotonic() > until or error.status in (400, 403):
                    raise
            await asyncio.sleep(wait * (0.5 + luck.random()))
            wait = min(2 * wait, _LONGEST_WAIT_S)
        self._connected_at = time.monotonic()
        self.send(protocol.Hello(token=self.token, protocol=protocol.PROTOCOL))

    def send(self, message: Message) -> None:
        """Say something; lost where the line is dead."""
        if self._socket is not None:
            self._socket.send(message.model_dump_json())

    async def until(self, ready: Callable[[], bool], within_s: float) -> bool:
        """Wait until the page shows something; returns whether it does.

        Raises:
            LineBroke: the connection is gone.
        """
        happened = await self.page.until(ready, within_s)
        if self.page.closed is not None:
            raise LineBroke
        return happened

    async def pause(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            LineBroke: the connection is gone.
        """
        await asyncio.sleep(seconds)
        if self.page.closed is not None:
            raise LineBroke

    def break_off(self, *, politely: bool) -> None:
        """Lose the connection: a closed tab, or a cable that is pulled out."""
        if self._socket is not None and politely:
            self._socket.close()
        elif self._socket is not None:
            self._socket.abort()

    def hang_up(self) -> None:
        """Close what is open, and hear nothing more."""
        socket, self._socket, self._ears = self._socket, None, None
        if socket is not None:
            socket.close()
            self.traffic.received_bytes += socket.received_bytes
            self.traffic.sent_bytes += socket.sent_bytes
            self.traffic.connected_s += time.monotonic() - self._connected_at

    def hears(self, ears: _Ears) -> bool:
        """Whether these are the ears in use."""
        return self._ears is ears


class _Ears:
    """Passes on what comes over one socket; those of an older one hear nothing more."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def on_text(self, text: str) -> None:
        self._hear("message", lambda: self._line.page.on_text(text))

    def on_bytes(self, data: bytes) -> None:
        self._hear("keyframe", lambda: self._line.page.on_bytes(data))

    def on_closed(self, code: int, reason: str) -> None:
        self._hear("close", lambda: self._line.page.on_closed(code, reason))

    def _hear(self, what: str, take: Callable[[], None]) -> None:
        if self._line.hears(self):
            try:
                take()
            except (ValueError, KeyError, IndexError) as error:
                self._line.defects.append(f"{what}: {' '.join(str(error).split())[:300]}")
