"""The server of the compare page: shows pairs of clips to people who say which is better."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from ui_collect.access_log import AccessLog
from ui_collect.app import guarded, health_route, page_routes
from ui_collect.app_errors import answer_errors
from ui_collect.compare.desk import PEOPLE, CompareDesk
from ui_collect.compare.films import FILM_WORKER
from ui_collect.compare.routes import compare_routes
from ui_collect.compare.served_clips import ClipShelf
from ui_collect.compare.settings import CompareSettings
from ui_collect.invitation_links import link_at_start
from ui_collect.page_files import PageFiles
from ui_collect.station.server import PAGE_FOLDER as VERDICT_PAGE_FOLDER
from ui_collect.station.server import SHARED_FILES
from ui_collect.web_process import listening, only_server, serve_desk, tls_context, url_of

PAGE = "/compare.html"
_PAGE_FOLDER = Path(__file__).parent / "page"
# What the verdict page does alike.
_ALIKE = ("active_time.js", "api.js", "arrival.js", "outbox.js", "saying_desk.js", "stored.js")


def compare_app(settings: CompareSettings, desk: CompareDesk, log: AccessLog) -> ASGIApp:
    """What people open, behind what every request of a page passes first.

    Args:
        settings: the server's.
        desk: where people compare clips.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel compare", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(compare_routes(desk, settings))
    more = SHARED_FILES | {f"/{name}": VERDICT_PAGE_FOLDER / name for name in _ALIKE}
    page_routes(app, PageFiles(_PAGE_FOLDER, needed=PAGE, more=more), {"/": PAGE, "/compare": PAGE})
    return guarded(app, settings, log)


def serve_compare(
    settings: CompareSettings, store: Store, folder: Path | None, invite: int | None, worker: str = FILM_WORKER
) -> int:
    """Serve the compare page until SIGINT or SIGTERM.

    Args:
        settings: the server's.
        store: where clips, labels and films are kept.
        folder: the clip set that is compared; by default the newest iteration's.
        invite: make an invitation for so many people.
        worker: the module whose process makes films.

    Returns:
        The exit code.

    Raises:
        UserError: the port is taken, the certificate is not usable, the root cannot be written, the label store cannot
            be opened, or another such server serves this program of the root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    context = tls_context(settings)
    # Besides what collects verdicts and marks: the programs of one root are compared side by side.
    own = store.root / settings.program / "compare"
    told = f"clips of the {settings.program} program are compared in '{store.root}' already"
    with only_server(store, own, told), contextlib.closing(listening(settings)) as listener:
        shelf = ClipShelf(store, settings, folder)
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        url = url_of(settings, listener, tls=context is not None)
        link = link_at_start(labels, settings.iteration, url, "annotate", invite, PEOPLE)
        lines = [
            f"compare       {link or f'{url}/compare  by invitation; make one with --invite 2'}",
            f"clips         {_clips_now(shelf)}",
        ]
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; all is kept\n", flush=True)
        desk = CompareDesk(store, settings, labels, shelf, worker)
        log = AccessLog(own / "requests.jsonl")
        serve_desk(compare_app(settings, desk, log), settings, listener, context, desk, log, desk.start)
    print("stopped; all is kept", flush=True)
    return 0


def _clips_now(shelf: ClipShelf) -> str:
    try:
        served = shelf.now()
    except UserError as error:
        return f"{error}"
    if served is None:
        return f"none in {shelf.place} yet; the page waits for them"
    return f"{served.clip_set.root}  ({len(served.clip_set.clips)} clips, {len(served.clip_set.pairs)} pairs)"
