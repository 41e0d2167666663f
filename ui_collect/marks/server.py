"""The server of the page of marks: shows a data set's episodes to people who mark how far they come."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.progress_marks import PROGRAM
from ui_collect.access_log import AccessLog
from ui_collect.app import guarded, health_route, page_routes
from ui_collect.app_errors import answer_errors
from ui_collect.invitation_links import link_at_start
from ui_collect.marks.desk import MarkDesk
from ui_collect.marks.episodes import Episodes
from ui_collect.marks.routes import mark_routes
from ui_collect.marks.settings import MarkSettings
from ui_collect.page_files import PageFiles
from ui_collect.station.server import PAGE_FOLDER as VERDICT_PAGE_FOLDER
from ui_collect.station.server import SHARED_FILES
from ui_collect.web_process import listening, only_server, serve_desk, tls_context, url_of

PAGE = "/marks.html"
_PAGE_FOLDER = Path(__file__).parent / "page"
# What the verdict page does alike.
_ALIKE = (
    "active_time.js",
    "api.js",
    "arrival.js",
    "curves.js",
    "outbox.js",
    "review_desk.js",
    "saying_desk.js",
    "stored.js",
    "verdicts.css",
)


def mark_app(settings: MarkSettings, desk: MarkDesk, log: AccessLog) -> ASGIApp:
    """What people open, behind what every request of a page passes first.

    Args:
        settings: the server's.
        desk: where people look at episodes.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel marks", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(mark_routes(desk, settings))
    more = SHARED_FILES | {f"/{name}": VERDICT_PAGE_FOLDER / name for name in _ALIKE}
    page_routes(app, PageFiles(_PAGE_FOLDER, needed=PAGE, more=more), {"/": PAGE, "/marks": PAGE})
    return guarded(app, settings, log)


def serve_marks(settings: MarkSettings, store: Store, dataset: Path, invite: int | None) -> int:
    """Serve the page of marks until SIGINT or SIGTERM.

    Args:
        settings: the server's.
        store: where labels and films are kept.
        dataset: what is marked; stays as it is.
        invite: make an invitation for so many people.

    Returns:
        The exit code.

    Raises:
        UserError: the data set cannot be read, the port is taken, the certificate is not usable, the root cannot be
            written, the label store cannot be opened, or another such server serves this root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    context = tls_context(settings)
    folder = store.root / PROGRAM
    with only_server(store, folder), contextlib.closing(listening(settings)) as listener:
        episodes = Episodes(dataset)
        labels = LabelStore.open(settings.labels_url or store.labels_url)
        url = url_of(settings, listener, tls=context is not None)
        link = link_at_start(labels, settings.iteration, url, "annotate", invite, PROGRAM)
        lines = [
            f"marks         {link or f'{url}/marks  by invitation; make one with --invite 2'}",
            f"data set      {dataset}  ({len(episodes.all())} episodes, {settings.stages} stages)",
        ]
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops; all is kept\n", flush=True)
        desk = MarkDesk(store, settings, labels, episodes)
        log = AccessLog(folder / "requests.jsonl")
        serve_desk(mark_app(settings, desk, log), settings, listener, context, desk, log)
    print("stopped; all is kept", flush=True)
    return 0
