"""What every server of people's pages does around its app: one per root, listening, TLS, and a stop that is heard."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import uvicorn
import uvloop
from starlette.types import ASGIApp

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.store import Store
from ui_collect.access_log import AccessLog
from ui_collect.bounded_connections import HEAD_BYTES, HTTP_SPARE, BoundedWebSocket, bounded_http
from ui_collect.protocol import MESSAGE_BYTES
from ui_collect.web_settings import WebSettings

_PING_S = 20.0
_STOP_WITHIN_S = 5


@contextlib.contextmanager
def only_server(store: Store, folder: Path | None = None, told: str = "") -> Iterator[None]:
    """Keep a second server away from the same root; the lock goes with the process.

    Args:
        store: the root.
        folder: where the lock lies, by default with what is collected; each kind of server has one.
        told: what is the matter where there is one.

    Raises:
        UserError: there is one.
    """
    file = (folder or store.collection) / "server.lock"
    with disk_errors_named(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            too = "; what collects serves the annotation page too" if folder is None else ""
            raise UserError(
                told or f"another server collects into '{store.root}'", f"stop it, or name another --root{too}"
            ) from None
        yield


def listening(settings: WebSettings) -> socket.socket:
    """The socket that people reach.

    Raises:
        UserError: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {settings.host}, port {settings.port} ({reason})", "choose others with --host and --port"
        ) from None


def tls_context(settings: WebSettings) -> ssl.SSLContext | None:
    """TLS as the settings want it; None for none.

    Raises:
        UserError: the certificate and its key cannot be used.
    """
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"certificate '{settings.certificate}' and key '{settings.key}' cannot be used",
            str(error.strerror or error),
        ) from None
    return context


def url_of(settings: WebSettings, listener: socket.socket, *, tls: bool) -> str:
    """How people reach the server, without a slash at the end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = settings.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    elif ":" in host:
        host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{listener.getsockname()[1]}"


async def serve_app(
    app: ASGIApp,
    settings: WebSettings,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    running: AbstractAsyncContextManager[None],
) -> None:
    """Serve until SIGINT or SIGTERM comes.

    Args:
        app: what is served.
        settings: the server's.
        listener: where.
        context: TLS; None for none.
        running: what runs as long as connections are served.
    """
    config = uvicorn.Config(
        app,
        http=bounded_http(settings.max_sockets + HTTP_SPARE),
        ws=BoundedWebSocket,
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
        h11_max_incomplete_event_size=HEAD_BYTES,
        ssl_context_factory=None if context is None else lambda _config, _default: context,
    )
    server = _Uvicorn(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    async with running:
        await server.serve(sockets=[listener])


class Desk(Protocol):
    """What answers the people of a page."""

    async def stop(self) -> None:
        """End what makes films, and the threads."""


def serve_desk(
    app: ASGIApp,
    settings: WebSettings,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    desk: Desk,
    log: AccessLog,
    start: Callable[[], None] = lambda: None,
) -> None:
    """Serve a page in a loop of its own until SIGINT or SIGTERM comes; then stop its desk and close the log.

    Args:
        app: what is served.
        settings: the server's.
        listener: where.
        context: TLS; None for none.
        desk: what answers.
        log: where requests are noted.
        start: called in the loop before connections are served.
    """

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        start()
        try:
            yield
        finally:
            await desk.stop()
            await asyncio.to_thread(log.close)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_app(app, settings, listener, context, running()))


class _Uvicorn(uvicorn.Server):
    """uvicorn, told to stop by the loop: its own handlers would raise the signal again before we have stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Stop accepting, close what is open; asked twice, without patience."""
        self.force_exit = self.should_exit
        self.should_exit = True
