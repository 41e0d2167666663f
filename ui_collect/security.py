"""What every request passes first: its origin, its size, and the headers every answer carries."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 16 * 2**10
"""Largest body of a request: the longest free text there is, two thousand characters, escaped."""
BODY_WITHIN_S = 10.0
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": 80, "https": 443}

HEADERS = {
    # three.js writes inline sizes onto its canvas through the DOM, which style-src does not govern; pictures drawn in
    # the page are blobs or data.
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def origin_allowed(origin: str, host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a page of ``origin`` may talk to the server reached as ``host``.

    Args:
        origin: the Origin header; "" where there was none (no browser).
        host: the Host header.
        allowed: further origins.
    """
    if not origin or origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
        ours = urlsplit(f"//{host}")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return False
        default = _DEFAULT_PORTS[parts.scheme]
        return (parts.hostname, parts.port or default) == (ours.hostname, ours.port or default)
    except ValueError:
        return False


class Guard:
    """Refuses foreign origins and large or slow bodies before any work is done, and adds the security headers.

    Args:
        app: what comes behind.
        allowed: origins beside the server's own.
        tls: whether the server speaks TLS, so that browsers may be told to insist on it.
    """

    def __init__(self, app: ASGIApp, *, allowed: tuple[str, ...] = (), tls: bool = False) -> None:
        self.app = app
        self.allowed = allowed
        self.headers = dict(HEADERS)
        if tls:
            self.headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        checked = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if checked and (
            len(origins) > 1 or not origin_allowed(origins[0] if origins else "", headers.get("host", ""), self.allowed)
        ):
            await refuse(scope, send, 403, "forbidden", "Requests from other sites are not accepted.")
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    added.setdefault(name, value)
            await send(message)

        if scope["method"] in _SAFE_METHODS:
            await self.app(scope, receive, send_with_headers)
            return
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _whole_body(receive)
        except TimeoutError:
            await refuse(scope, send_with_headers, 408, "bad_request", "The request's body came too slowly.")
            return
        if body is None:
            await refuse(scope, send_with_headers, 413, "bad_request", "The request is too large.")
            return
        given = False

        async def receive_body() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_body, send_with_headers)


async def _whole_body(receive: Receive) -> bytes | None:
    """The request's body; None if it is larger than allowed."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


async def refuse(scope: Scope, send: Send, status: int, code: str, message: str) -> None:
    """Answer a request, or an upgrade to a WebSocket, with an error; ``code`` and ``message`` are plain words."""
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = f'{{"code":"{code}","message":"{message}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
