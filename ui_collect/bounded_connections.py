"""Connections as uvicorn serves them, with bounds of our own: how many, how long, and how much may wait unsent."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

HEAD_WITHIN_S = 10.0
"""Seconds a connection has for the head of its first request."""
HTTP_LIFETIME_S = 300.0
"""Seconds after which a connection that is no WebSocket is closed: a slow phone has loaded the page by then."""
HTTP_SPARE = 128
"""Connections beyond the live ones, for pages, joins and the dashboard."""
UNSENT_BYTES = 4 * 2**20
"""Bytes a client may leave unread before it is cut off; the largest message, a scene, has a few ten thousand."""
HEAD_BYTES = 16 * 2**10
"""Largest head of a request."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\nretry-after: 5\r\n"
    b'content-length: 67\r\n\r\n{"code":"unavailable","message":"The server has no room just now."}'
)


def bounded_http(connections: int) -> type[H11Protocol]:
    """HTTP as uvicorn speaks it, at most ``connections`` at once, each with a deadline.

    uvicorn itself waits for ever for a head that does not come.
    """

    class BoundedHttp(H11Protocol):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            self._deadlines: list[asyncio.TimerHandle] = []
            self._refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections:
                self._refused = True
                transport.write(_FULL)
                transport.close()
                return
            self._deadlines = [
                self.loop.call_later(HEAD_WITHIN_S, self._need_head),
                self.loop.call_later(HTTP_LIFETIME_S, self._end),
            ]

        def data_received(self, data: bytes) -> None:
            if not self._refused:
                super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self._no_deadlines()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._no_deadlines()
            super().handle_websocket_upgrade(event)

        def _need_head(self) -> None:
            if self.cycle is None:
                self._end()

        def _end(self) -> None:
            if not self.transport.is_closing():
                self.transport.abort()

        def _no_deadlines(self) -> None:
            for deadline in self._deadlines:
                deadline.cancel()
            self._deadlines = []

    return BoundedHttp


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """WebSockets as uvicorn speaks them; a client that asks for answers (pings) and never reads them is cut off."""

    def data_received(self, data: bytes) -> None:
        """Take in what came; what comes after the close, and cannot be answered any more, is no defect of ours."""
        try:
            super().data_received(data)
        except InvalidState:
            self.transport.abort()

    def shutdown(self) -> None:
        """Say that the server stops, to whoever has not said goodbye already."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer a ping, as long as answers are read."""
        if self.transport.get_write_buffer_size() > UNSENT_BYTES:
            self.transport.abort()
            return
        super().handle_ping()
