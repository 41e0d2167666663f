"""The upload server alone: where stations' episodes come in while nobody needs a page."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvloop
from fastapi import FastAPI
from pydantic import Field
from starlette.types import ASGIApp

from hitl_ops.contracts.store import Store
from hitl_ops.labels.tokens import hash_token
from ui_collect.access_log import AccessLog, LoggedRequests
from ui_collect.admin_access import read_or_make_admin_token
from ui_collect.app_errors import answer_errors
from ui_collect.station.incoming import IncomingEpisodes
from ui_collect.station.routes import upload_routes
from ui_collect.web_process import listening, serve_app, tls_context, url_of
from ui_collect.web_settings import WebSettings

PROGRAM = "station"


class UploadSettings(WebSettings):
    """The upload server."""

    port: int = Field(default=8090, ge=0, le=65_535, description="port to listen on; 0 takes a free one")


def incoming_folder(store: Store) -> Path:
    """Where stations' episodes come in; also what a station's rsync target should be."""
    return store.root / PROGRAM / "incoming"


def token_check(token_hash: str) -> Callable[[str], bool]:
    """Tells whether a token has this hash, in constant time."""
    return lambda token: hmac.compare_digest(hash_token(token), token_hash)


def upload_app(incoming: IncomingEpisodes, token_hash: str, log: AccessLog) -> ASGIApp:
    """The app.

    Args:
        incoming: where episodes go.
        token_hash: hash of the stations' token.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel station uploads", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    app.include_router(upload_routes(incoming, token_check(token_hash)))
    return LoggedRequests(app, log)


def serve_uploads(settings: UploadSettings, store: Store, *, new_token: bool = False) -> int:
    """Serve uploads until SIGINT or SIGTERM.

    Args:
        settings: the server's.
        store: where everything is kept.
        new_token: make a new token; the old one opens nothing any more.

    Returns:
        The exit code.

    Raises:
        UserError: the port is taken, the certificate is not usable, or the root cannot be written.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    context = tls_context(settings)
    with contextlib.closing(listening(settings)) as listener:
        folder = store.root / PROGRAM
        token_hash, token = read_or_make_admin_token(folder / "upload-token.json", renew=new_token)
        incoming = IncomingEpisodes(incoming_folder(store))
        incoming.sweep()
        lines = [
            f"uploads       {url_of(settings, listener, tls=context is not None)}",
            f"token         {token or 'as before; make a new one with --new-token'}",
            f"files         {incoming.base}",
        ]
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; all is kept\n", flush=True)
        log = AccessLog(folder / "uploads.jsonl")

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await asyncio.to_thread(log.close)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_app(upload_app(incoming, token_hash, log), settings, listener, context, running()))
    print("stopped; all is kept", flush=True)
    return 0
