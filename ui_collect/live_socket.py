"""The WebSocket: hello first, then messages, each checked and counted before anything is done for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.rows import SessionRow
from ui_collect import protocol
from ui_collect.access_log import AccessLog, address_of
from ui_collect.connection import Connection
from ui_collect.limits import AddressLimit, Gauge, TokenBucket
from ui_collect.presence import Presence
from ui_collect.protocol import CLIENT_MESSAGES, ErrorCode, ErrorMessage, Hello, StageMessage
from ui_collect.security import refuse
from ui_collect.settings import CollectSettings
from ui_collect.sitting import Sitting

logger = logging.getLogger(__name__)


class LiveSockets:
    """Serves ``/ws/collect``.

    Args:
        settings: the server's.
        presence: who is here.
        log: where connections are noted.
    """

    def __init__(self, settings: CollectSettings, presence: Presence, log: AccessLog) -> None:
        self._settings = settings
        self._presence = presence
        self._log = log
        self.open = Gauge(settings.max_sockets)
        self._addresses = AddressLimit(settings.joins_per_s, settings.join_burst)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection from its upgrade to its end."""
        scope = websocket.scope
        if not self._addresses.take(address_of(scope)):
            await _turn_away(websocket, 429, "too_many", "Too many connections from this address.")
            return
        if protocol.SUBPROTOCOL not in scope["subprotocols"]:
            await _turn_away(websocket, 400, "bad_request", "The subprotocol is missing.")
            return
        if not self.open.enter():
            await _turn_away(websocket, 503, "unavailable", "The server has no room just now.")
            return
        try:
            await websocket.accept(subprotocol=protocol.SUBPROTOCOL)
            await self._accepted(websocket)
        except WebSocketDisconnect:
            return
        finally:
            self.open.leave()

    async def _accepted(self, websocket: WebSocket) -> None:
        served = _Served(websocket, self._settings, self._presence)
        try:
            await served.run()
        finally:
            if served.sitting is not None:
                await self._presence.disconnect(served.sitting, served.connection)
            await served.connection.closed()
            self._log.write(
                "disconnected",
                session=served.sitting.session_id if served.sitting is not None else "",
                address=address_of(websocket.scope),
                messages=served.messages,
                refused=served.refused,
                sent_bytes=served.connection.sent_bytes,
                dropped_frames=served.connection.dropped_frames,
            )


class _Served:
    """One accepted connection."""

    def __init__(self, websocket: WebSocket, settings: CollectSettings, presence: Presence) -> None:
        self._websocket = websocket
        self._settings = settings
        self._presence = presence
        self._bucket = TokenBucket(settings.messages_per_s, settings.message_burst)
        self.sitting: Sitting | None = None
        self.connection = Connection(websocket, frames=settings.send_queue, behind=self._behind)
        self.messages = 0
        self.refused = 0

    def _behind(self) -> None:
        """Keyframes were dropped: a full one is needed."""
        sitting = self.sitting
        if sitting is not None and sitting.connection is self.connection and sitting.play is not None:
            self._presence.flow.plays.join(sitting.play)

    async def run(self) -> None:
        """Say hello, then take messages until either side closes."""
        try:
            async with asyncio.timeout(self._settings.hello_within_s):
                first = await self._next()
        except TimeoutError:
            self._refuse("expected_hello", "The first message did not come.", close=protocol.CLOSED_NO_HELLO)
            return
        if first is None or not await self._hello(first):
            return
        assert self.sitting is not None
        while (message := await self._next()) is not None:
            if self.sitting.connection is not self.connection:
                return  # a newer connection has taken over, or the server closed this one
            if isinstance(message, Hello):
                self._refuse("not_now", "The session is named already.")
                continue
            await self._presence.flow.handle(self.sitting, message)

    async def _hello(self, message: protocol.ClientMessage) -> bool:
        if not isinstance(message, Hello):
            self._refuse("expected_hello", "The first message must be hello.", close=1008)
            return False
        if message.protocol != protocol.PROTOCOL:
            self._refuse("protocol_version", "The page is of another version: load it again.", close=1008)
            return False
        try:
            found = await self._presence.find(message.token)
        except UserError as error:
            logger.error("a session could not be looked up: %s", error)
            self._refuse("server_error", "Please try again in a moment.", close=1011)
            return False
        if found is None:
            self._refuse("bad_token", "This session does not exist.", close=protocol.CLOSED_BAD_TOKEN)
            return False
        if isinstance(found, SessionRow):
            await self._say_ended(found)
            return False
        self.sitting = found
        await self._presence.connect(found, self.connection)
        return True

    async def _say_ended(self, row: SessionRow) -> None:
        stage: protocol.Stage = "thanks" if row.end_reason in ("done", "left") else "ended"
        with contextlib.suppress(UserError):
            totals = await self._presence.flow.totals(row.id)
            self.connection.send(StageMessage(stage=stage, totals=totals))
        self.connection.close(protocol.CLOSED_ENDED, "the session is over")

    async def _next(self) -> protocol.ClientMessage | None:
        """The next valid message; None when the connection is over."""
        while True:
            received = await self._websocket.receive()
            if received["type"] != "websocket.receive":
                # Said after a close of our own too; by then everything has been sent.
                self.connection.gone()
                return None
            if not self.connection.open:
                return None
            self.messages += 1
            if not self._bucket.take():
                self._refuse("too_fast", "Too many messages.", close=1008)
                return None
            text = received.get("text")
            if text is None:
                self._refuse("binary_not_accepted", "Messages are JSON text.", close=1003)
                return None
            if len(text) > protocol.MESSAGE_BYTES:
                self._refuse("bad_message", "The message is too long.", close=1009)
                return None
            try:
                return CLIENT_MESSAGES.validate_json(text, strict=True)
            except ValidationError as error:
                first = error.errors(include_url=False, include_context=False, include_input=False)[0]
                # Where it is wrong, in our own words and names; nothing that was sent is repeated.
                place = ".".join(part for part in map(str, first["loc"]) if part.isidentifier())[:80]
                known = first["type"] != "extra_forbidden"
                what = f"Field '{place}' is not valid." if place and known else "The message is not valid."
                self._refuse("bad_message", what)
                if self.refused >= self._settings.bad_messages:
                    self.connection.close(1008, "too many invalid messages")
                    return None

    def _refuse(self, code: ErrorCode, message: str, *, close: int | None = None) -> None:
        self.refused += 1
        self.connection.send(ErrorMessage(code=code, message=message))
        if close is not None:
            self.connection.close(close, code)


async def _turn_away(websocket: WebSocket, status: int, code: str, message: str) -> None:
    """Refuse an upgrade with a plain HTTP answer."""
    await websocket.receive()
    await refuse(websocket.scope, websocket.send, status, code, message)
