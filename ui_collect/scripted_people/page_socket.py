"""The page's WebSocket without a page: as little work per message as Python allows, for hundreds in one process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.protocol import SEND_EOF, State
from websockets.uri import parse_uri

from ui_collect.protocol import SUBPROTOCOL, WEBSOCKET_PATH

_LARGEST = 4 * 2**20
_OPEN_WITHIN_S = 20.0


class ConnectionRefused(Exception):
    """The server did not take the connection.

    Attributes:
        status: its HTTP status; 0 where there was no answer.
    """

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class Listener(Protocol):
    """Whoever takes in what comes over a socket; called in the event loop."""

    def on_text(self, text: str) -> None:
        """A text message has come."""

    def on_bytes(self, data: bytes) -> None:
        """A binary message has come."""

    def on_closed(self, code: int, reason: str) -> None:
        """The connection is over; 1006 where it broke."""


class PageSocket(asyncio.Protocol):
    """One WebSocket; made by :func:`open_page_socket`.

    Attributes:
        received_bytes: payload bytes received.
        sent_bytes: payload bytes sent.
    """

    def __init__(self, protocol: ClientProtocol, listener: Listener) -> None:
        self._protocol = protocol
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._parts_are_text = False
        self._over = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return not self._over and self._protocol.state is State.OPEN

    def send(self, text: str) -> None:
        """Send a text message; lost where the connection is over."""
        if self.open:
            data = text.encode()
            self.sent_bytes += len(data)
            self._protocol.send_text(data)
            self._flush()

    def close(self) -> None:
        """Say goodbye and close."""
        if self.open:
            self._protocol.send_close(1000)
            self._flush()

    def abort(self) -> None:
        """Break the connection, as a cable that is pulled out does."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Cut what came into messages."""
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif not self.opened.done():
                self._answered()
        self._flush()

    def eof_received(self) -> None:
        """The server will send nothing more."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever listens that it is over."""
        self._over = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionRefused("the connection broke before it was open"))
            return
        if self.opened.exception() is None:
            if self._protocol.state is not State.CLOSED:
                self._protocol.receive_eof()
            self._listener.on_closed(self._protocol.close_code or 1006, self._protocol.close_reason or "")

    def _answered(self) -> None:
        error = self._protocol.handshake_exc
        if error is None:
            self.opened.set_result(None)
            return
        status = getattr(getattr(error, "response", None), "status_code", 0)
        self.opened.set_exception(ConnectionRefused(str(error), status))

    def _take(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CONT or (opcode in (Opcode.TEXT, Opcode.BINARY) and not frame.fin):
            if opcode is not Opcode.CONT:
                self._parts, self._parts_are_text = [], opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._message(b"".join(self._parts), text=self._parts_are_text)
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            self._message(bytes(frame.data), text=opcode is Opcode.TEXT)

    def _message(self, data: bytes, *, text: bool) -> None:
        self.received_bytes += len(data)
        if text:
            self._listener.on_text(data.decode())
        else:
            self._listener.on_bytes(data)

    def _flush(self) -> None:
        transport = self._transport
        assert transport is not None
        for data in self._protocol.data_to_send():
            if data is SEND_EOF:
                if transport.can_write_eof() and not transport.is_closing():
                    transport.write_eof()
            else:
                transport.write(data)
        if self._protocol.close_expected() and self._protocol.state is State.CLOSED:
            transport.close()


async def open_page_socket(
    url: str, listener: Listener, *, path: str = WEBSOCKET_PATH, subprotocol: str | None = SUBPROTOCOL
) -> PageSocket:
    """Open a WebSocket to a server.

    Args:
        url: the server's, ``http://host:port``; for TLS ``https://…``.
        listener: takes in what comes.
        path: where the WebSocket is.
        subprotocol: what is to be spoken.

    Raises:
        ConnectionRefused: the server is not there, or refuses.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    uri = parse_uri(f"{'wss' if secure else 'ws'}://{parts.netloc}{path}")
    names: list[Any] = [] if subprotocol is None else [subprotocol]
    protocol = ClientProtocol(uri, subprotocols=names or None, max_size=_LARGEST)
    make: Callable[[], PageSocket] = lambda: PageSocket(protocol, listener)  # noqa: E731
    context = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(_OPEN_WITHIN_S):
            loop = asyncio.get_running_loop()
            transport, socket = await loop.create_connection(make, uri.host, uri.port, ssl=context)
            try:
                await socket.opened
            except BaseException:
                transport.abort()
                raise
    except (OSError, TimeoutError, InvalidHandshake, InvalidMessage) as error:
        raise ConnectionRefused(str(error) or type(error).__name__) from None
    return socket
