"""The station's server: takes episodes in from stations, and shows them to people who say good or bad."""

from __future__ import annotations

import contextlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.station_verdicts import PROGRAM
from hitl_ops.labels.tokens import hash_token
from ui_collect.access_log import AccessLog, LoggedRequests
from ui_collect.admin_access import read_or_make_admin_token
from ui_collect.app import guarded, health_route, page_routes
from ui_collect.app_errors import answer_errors
from ui_collect.invitation_links import link_at_start
from ui_collect.page_files import PageFiles
from ui_collect.station.desk import VerdictDesk
from ui_collect.station.incoming import IncomingEpisodes
from ui_collect.station.recordings import Recordings
from ui_collect.station.routes import PREFIX, upload_routes
from ui_collect.station.settings import StationSettings
from ui_collect.station.verdict_routes import verdict_routes
from ui_collect.web_process import listening, only_server, serve_desk, tls_context, url_of

PAGE = "/verdicts.html"
PAGE_FOLDER = Path(__file__).parent / "page"
# What the built pages look like, so that this one looks alike without being built.
_PAGES = Path(__file__).parents[1] / "pages"
SHARED_FILES = {
    "/mark.svg": _PAGES / "public" / "mark.svg",
    **{f"/{name}": _PAGES / "src" / "style" / name for name in ("base.css", "controls.css", "cards.css")},
}


@dataclass(frozen=True)
class StartOptions:
    """What a start does beside serving.

    Attributes:
        new_token: make a new upload token; the old one opens nothing any more.
        token: the upload token of this start alone, instead of the store's; "" for the store's.
        invite: make an invitation to the verdict page for so many people.
    """

    new_token: bool = False
    token: str = ""
    invite: int | None = None


def incoming_folder(store: Store) -> Path:
    """Where stations' episodes come in; also what a station's rsync target should be."""
    return store.station_incoming


def token_check(token_hash: str) -> Callable[[str], bool]:
    """Tells whether a token has this hash, in constant time."""
    return lambda token: hmac.compare_digest(hash_token(token), token_hash)


def upload_app(incoming: IncomingEpisodes, token_hash: str, log: AccessLog) -> ASGIApp:
    """What stations talk to.

    Args:
        incoming: where episodes go.
        token_hash: hash of the stations' token.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel station uploads", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(upload_routes(incoming, token_check(token_hash)))
    return LoggedRequests(app, log)


def verdict_app(settings: StationSettings, desk: VerdictDesk, log: AccessLog) -> ASGIApp:
    """What people open, behind what every request of a page passes first.

    Args:
        settings: the server's.
        desk: where people look at episodes.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel verdicts", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(verdict_routes(desk, settings))
    page_routes(app, PageFiles(PAGE_FOLDER, needed=PAGE, more=SHARED_FILES), {"/": PAGE, "/verdicts": PAGE})
    return guarded(app, settings, log)


def station_app(uploads: ASGIApp, verdicts: ASGIApp) -> ASGIApp:
    """Both in one. Pieces of episodes are larger than anything a page sends, and come with a token of their own."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (uploads if scope.get("path", "").startswith(f"{PREFIX}/") else verdicts)(scope, receive, send)

    return either


def serve_station(settings: StationSettings, store: Store, options: StartOptions) -> int:
    """Serve uploads and the verdict page until SIGINT or SIGTERM.

    Args:
        settings: the server's.
        store: where everything is kept.
        options: what else is to be done.

    Returns:
        The exit code.

    Raises:
        UserError: the port is taken, the certificate is not usable, the root cannot be written, the label store cannot
            be opened, or another server serves this root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    context = tls_context(settings)
    folder = store.root / PROGRAM
    with only_server(store, folder), contextlib.closing(listening(settings)) as listener:
        if options.token:
            token_hash, token = hash_token(options.token), "as given, for this start alone"
        else:
            kept, made = read_or_make_admin_token(folder / "upload-token.json", renew=options.new_token)
            token_hash, token = kept, made or "as before; make a new one with --new-token"
        incoming = IncomingEpisodes(incoming_folder(store))
        incoming.sweep()
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        url = url_of(settings, listener, tls=context is not None)
        link = link_at_start(labels, settings.iteration, url, "annotate", options.invite, PROGRAM)
        lines = [
            f"uploads       {url}",
            f"token         {token}",
            f"verdicts      {link or f'{url}/verdicts  by invitation; make one with --invite 2'}",
            f"files         {incoming.base}",
        ]
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; all is kept\n", flush=True)
        desk = VerdictDesk(store, settings.annotation, labels, Recordings(incoming.base))
        log = AccessLog(folder / "requests.jsonl")
        app = station_app(upload_app(incoming, token_hash, log), verdict_app(settings, desk, log))
        serve_desk(app, settings, listener, context, desk, log)
    print("stopped; all is kept", flush=True)
    return 0
