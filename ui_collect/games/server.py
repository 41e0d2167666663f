"""The server of the games page: shows the dagger program's games, step by step, to whoever has its link."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from hitl_ops.contracts.store import Store
from hitl_ops.labels.tokens import hash_token, new_token
from ui_collect.access_log import AccessLog
from ui_collect.admin_access import AdminAccess
from ui_collect.app import guarded, health_route, page_routes
from ui_collect.app_errors import answer_errors
from ui_collect.games.desk import GamesDesk
from ui_collect.games.routes import games_routes
from ui_collect.games.served_games import PROGRAM, GameShelf
from ui_collect.games.settings import GamesSettings
from ui_collect.page_files import PageFiles
from ui_collect.station.server import PAGE_FOLDER as VERDICT_PAGE_FOLDER
from ui_collect.station.server import SHARED_FILES
from ui_collect.web_process import listening, only_server, serve_desk, tls_context, url_of

PAGE = "/games.html"
_PAGE_FOLDER = Path(__file__).parent / "page"
# What other pages do alike.
_ALIKE = {
    "/api.js": VERDICT_PAGE_FOLDER / "api.js",
    "/made.js": Path(__file__).parents[1] / "compare" / "page" / "made.js",
}


def games_app(settings: GamesSettings, desk: GamesDesk, access: AdminAccess, log: AccessLog) -> ASGIApp:
    """What people open, behind what every request of a page passes first.

    Args:
        settings: the server's.
        desk: where games are read.
        access: who may look.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel games", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(games_routes(desk, settings, access))
    pages = PageFiles(_PAGE_FOLDER, needed=PAGE, more=SHARED_FILES | _ALIKE)
    page_routes(app, pages, {"/": PAGE, "/games": PAGE})
    return guarded(app, settings, log)


def serve_games(settings: GamesSettings, store: Store) -> int:
    """Serve the games page until SIGINT or SIGTERM. Games are read only.

    Args:
        settings: the server's.
        store: where the program's iterations are kept.

    Returns:
        The exit code.

    Raises:
        UserError: the port is taken, the certificate is not usable, the root cannot be written, or another such server
            serves the root.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    context = tls_context(settings)
    # The lock and the log of requests; everything else is left as it is.
    own = store.root / PROGRAM / "games_page"
    told = f"the games in '{store.root}' are shown already"
    with only_server(store, own, told), contextlib.closing(listening(settings)) as listener:
        shelf = GameShelf(store)
        token = new_token()
        access = AdminAccess(hash_token(token), secure=context is not None)
        lines = [
            f"games         {url_of(settings, listener, tls=context is not None)}/games#{token}",
            f"read from     {shelf.place}  ({len(shelf.look())} games now)",
        ]
        print("\n" + "\n".join(f"  {line}" for line in lines) + "\n  Ctrl+C stops\n", flush=True)
        desk = GamesDesk(shelf)
        log = AccessLog(own / "requests.jsonl")
        serve_desk(games_app(settings, desk, access, log), settings, listener, context, desk, log)
    print("stopped", flush=True)
    return 0
