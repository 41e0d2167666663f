"""One client's WebSocket, sending side: everything goes through a queue, so that nobody waits for a slow client."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from starlette.websockets import WebSocket

from ui_collect.keyframes import FULL
from ui_collect.protocol import Message, to_wire

_TEXTS = 256
"""Text messages that may wait; a client that leaves more unread is gone for all purposes."""
_CLOSE_WITHIN_S = 5.0


class Connection:
    """Sends messages and keyframes in order.

    Args:
        websocket: an accepted WebSocket.
        frames: keyframes that may wait; beyond it they are dropped, and ``behind`` is called.
        behind: called when keyframes were dropped: the client needs a full one.
    """

    def __init__(self, websocket: WebSocket, *, frames: int, behind: Callable[[], None]) -> None:
        self._websocket = websocket
        self._frames_limit = frames
        self._behind = behind
        self._queue: deque[str | bytes] = deque()
        self._frames = 0
        self._texts = 0
        self._need_full = True
        self._filled = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._writer = asyncio.create_task(self._write())
        self.shown: object | None = None
        """The play the page has been told of; what happens in it is sent from then on, nothing of any other."""
        self.sent_bytes = 0
        self.dropped_frames = 0

    @property
    def open(self) -> bool:
        """Whether anything said now would still be sent."""
        return self._closing is None and not self._writer.done()

    def send(self, message: Message) -> None:
        """Queue a message."""
        self.send_text(to_wire(message))

    def send_text(self, text: str) -> None:
        """Queue a message that is JSON text already."""
        if not self.open:
            return
        if self._texts >= _TEXTS:
            self.close(1008, "too slow")
            return
        self._texts += 1
        self._queue.append(text)
        self._filled.set()

    def send_frame(self, frame: bytes) -> None:
        """Queue a keyframe; if too many wait, all are dropped and a full one is asked for.

        Until a full one comes, increments are of no use and left out.
        """
        if not self.open:
            return
        if self._need_full and frame[0] != FULL:
            return
        if self._frames >= self._frames_limit:
            self.dropped_frames += self._frames + 1
            self.expect_full()
            self._behind()
            return
        self._need_full = False
        self._frames += 1
        self._queue.append(frame)
        self._filled.set()

    def expect_full(self) -> None:
        """Forget the keyframes that wait, and let the next one be a full one."""
        self._queue = deque(item for item in self._queue if isinstance(item, str))
        self._frames = 0
        self._need_full = True

    def close(self, code: int, reason: str = "") -> None:
        """Close after what is queued has been sent."""
        if self._closing is None:
            self._closing = (code, reason)
            self._filled.set()

    def gone(self) -> None:
        """The client has closed, or its line broke: what still waits can reach nobody."""
        self._closing = self._closing or (1006, "")
        self._writer.cancel()

    async def closed(self) -> None:
        """Wait until everything is sent and the connection is closed, or the client has gone, or time is up."""
        await asyncio.wait([self._writer], timeout=_CLOSE_WITHIN_S)
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._writer

    async def _write(self) -> None:
        # Whatever a send raises means that the client has gone; the receiving side hears of it too.
        with contextlib.suppress(Exception):
            while True:
                while self._queue:
                    item = self._queue.popleft()
                    self.sent_bytes += len(item)
                    if isinstance(item, str):
                        self._texts -= 1
                        await self._websocket.send_text(item)
                    else:
                        self._frames -= 1
                        await self._websocket.send_bytes(item)
                if self._closing is not None:
                    await self._websocket.close(*self._closing)
                    return
                self._filled.clear()
                await self._filled.wait()
        self._closing = self._closing or (1006, "")
