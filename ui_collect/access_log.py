"""One line of JSON per request and per connection, without tokens, written off the event loop."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import time
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hitl_ops.contracts.publish import disk_errors_named

_FILE_BYTES = 10 * 2**20
_FILES = 5
_QUEUED = 10_000


class AccessLog:
    """Writes lines to ``file`` from a thread of its own; under pressure lines are lost, never requests.

    Args:
        file: where the lines go; it is turned over at 10 MiB, five old ones are kept.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        with disk_errors_named(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                file, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8"
            )
        self._queue: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUED)
        self._listener = logging.handlers.QueueListener(self._queue, handler)
        self._handler = handler
        self._listener.start()

    def write(self, what: str, **fields: Any) -> None:
        """Queue a line."""
        line = json.dumps({"time": round(time.time(), 3), "what": what, **fields}, ensure_ascii=True)
        record = logging.LogRecord("access", logging.INFO, "", 0, line, None, None)
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            return

    def close(self) -> None:
        """Write what is queued and close the file."""
        self._listener.stop()
        self._handler.close()


class LoggedRequests:
    """Notes every HTTP request: method, path without query, status, milliseconds, address."""

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and note it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 101 if scope["type"] == "websocket" else 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self.log.write(
                scope["type"],
                method=scope.get("method", "GET"),
                path=scope["path"][:200],
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 1),
                address=address_of(scope),
            )


def address_of(scope: Scope) -> str:
    """Where a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else ""
