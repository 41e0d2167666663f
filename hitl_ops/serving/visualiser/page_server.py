"""Serves the visualiser's page and, over a WebSocket, what it shows; on this machine only.

The page asks for each update when it has drawn the last one, so a slow line gets fewer of them and nothing piles up.
Pictures are encoded in a thread, and only while somebody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import sys
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.live_view import RobotView, told
from hitl_ops.serving.policy_server import PolicyServer
from hitl_ops.serving.policy_server_config import is_local

HOST = "127.0.0.1"
MOST_PAGES = 8
_EVERY_S = 0.1
_AT_LEAST_EVERY_S = 0.5
_ASK_BYTES = 256
_SOCKET = "/live"
_FILES = {
    "/": ("visualiser.html", "text/html; charset=utf-8"),
    "/visualiser.css": ("visualiser.css", "text/css; charset=utf-8"),
    "/visualiser.js": ("visualiser.js", "text/javascript; charset=utf-8"),
    "/joint_plots.js": ("joint_plots.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Visualiser:
    """The page of a policy server.

    Args:
        server: whose robots are shown.
        port: where; 0 takes a free one.
    """

    def __init__(self, server: PolicyServer, port: int) -> None:
        self.port = port
        self._server = server
        self._pages = 0
        self._files = {path: (Path(__file__).parent / name).read_bytes() for path, (name, _) in _FILES.items()}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the page for the length of a block.

        Raises:
            UserError: the port is taken.
        """
        try:
            server = await serve(
                self._page,
                HOST,
                self.port,
                process_request=self._request,
                compression="deflate",
                max_size=_ASK_BYTES,
                max_queue=1,
                close_timeout=1.0,
                server_header=None,
            )
        except OSError as error:
            raise UserError(
                f"cannot show the visualiser on port {self.port} ({error.strerror})",
                "choose another with --visualiser-port, or serve none with --no-visualiser",
            ) from None
        self.port = next(iter(server.sockets)).getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        host = request.headers.get_all("Host")
        # A page of another site may have its own name point here; this machine's names it cannot have.
        if len(host) != 1 or not is_local(urlsplit(f"//{host[0]}").hostname or ""):
            return connection.respond(http.HTTPStatus.FORBIDDEN, "reach this page as localhost, by an SSH tunnel\n")
        if path == _SOCKET:
            if any(urlsplit(origin).netloc != host[0] for origin in request.headers.get_all("Origin")):
                return connection.respond(http.HTTPStatus.FORBIDDEN, "not for pages of other sites\n")
            if self._pages >= MOST_PAGES:
                return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are open\n")
            return None
        if path not in self._files:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "there is nothing here\n")
        answer = connection.respond(http.HTTPStatus.OK, "")
        answer.body = self._files[path]
        for name, value in {
            **_HEADERS,
            "Content-Type": _FILES[path][1],
            "Content-Length": str(len(answer.body)),
        }.items():
            if name in answer.headers:
                del answer.headers[name]
            answer.headers[name] = value
        return answer

    async def _page(self, connection: ServerConnection) -> None:
        self._pages += 1
        shown: dict[int, int] = {}
        try:
            while True:
                await connection.recv()
                await self._something_new(shown)
                robots = list(self._server.view.robots.values())
                new = [robot for robot in robots if shown.get(robot.number) != robot.answers]
                shown = {robot.number: robot.answers for robot in robots}
                update = await asyncio.to_thread(_update, self._server.status(), [*shown], new)
                await connection.send(update)
                await asyncio.sleep(_EVERY_S)
        except ConnectionClosed:
            return
        except Exception:
            traceback.print_exc(file=sys.stderr)
        finally:
            self._pages -= 1

    async def _something_new(self, shown: dict[int, int]) -> None:
        """Wait until a robot was answered, came or went, or the figures have grown old."""
        until = time.monotonic() + _AT_LEAST_EVERY_S
        while time.monotonic() < until:
            if {number: robot.answers for number, robot in self._server.view.robots.items()} != shown:
                return
            await asyncio.sleep(_EVERY_S / 2)


def _update(status: dict[str, Any], numbers: list[int], new: list[RobotView]) -> str:
    return json.dumps({"server": status, "here": numbers, "robots": [told(robot) for robot in new]})
