"""The collection app: its routes."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Admission
from ui_collect.access_log import AccessLog, LoggedRequests, address_of
from ui_collect.admin import admin_routes
from ui_collect.admin_access import AdminAccess
from ui_collect.annotate.desk import AnnotationDesk
from ui_collect.annotate.routes import annotation_routes
from ui_collect.app_errors import answer_errors
from ui_collect.flow import Flow
from ui_collect.home_files import HomeFiles, home_route
from ui_collect.http_messages import Availability, JoinAnswer, JoinRequest
from ui_collect.limits import AddressLimit
from ui_collect.live_socket import LiveSockets
from ui_collect.open_iteration import OpenIteration
from ui_collect.overview import OverviewPage
from ui_collect.page_files import ANNOTATE_PAGE, INDEX_PAGE, PageFiles
from ui_collect.protocol import WEBSOCKET_PATH
from ui_collect.security import Guard
from ui_collect.settings import CollectSettings
from ui_collect.web_settings import WebSettings


def collection_app(
    settings: CollectSettings,
    *,
    flow: Flow,
    sockets: LiveSockets,
    pages: PageFiles | None,
    access: AdminAccess,
    overview: OverviewPage,
    desk: AnnotationDesk,
    homes: HomeFiles,
    iteration: OpenIteration,
    log: AccessLog,
) -> ASGIApp:
    """The app, behind its guards.

    Args:
        settings: the server's.
        flow: what sessions go through.
        sockets: the live connections.
        pages: the built page; None serves the API alone.
        access: who may see the dashboard.
        overview: the dashboard's figures.
        desk: where annotators look at what was played.
        homes: what pages draw homes from.
        iteration: which iteration is collected for.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel collection", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    _people_routes(app, settings, flow, sockets, iteration)
    app.include_router(admin_routes(settings, access, flow.labels, overview, iteration))
    app.include_router(annotation_routes(desk, settings))
    home_route(app, homes)
    if pages is not None:
        page_routes(app, pages, {"/": INDEX_PAGE, "/join": INDEX_PAGE, "/annotate": ANNOTATE_PAGE})
    return guarded(app, settings, log)


def annotation_app(
    settings: WebSettings, *, desk: AnnotationDesk, homes: HomeFiles, pages: PageFiles | None, log: AccessLog
) -> ASGIApp:
    """The annotation page alone, behind the same guards.

    Args:
        settings: the server's.
        desk: where annotators look at what was played.
        homes: what the page draws homes from.
        pages: the built pages; None serves the API alone.
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel annotation", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    health_route(app)
    app.include_router(annotation_routes(desk, settings))
    home_route(app, homes)
    if pages is not None:
        page_routes(app, pages, {"/": ANNOTATE_PAGE, "/annotate": ANNOTATE_PAGE})
    return guarded(app, settings, log)


def guarded(app: FastAPI, settings: WebSettings, log: AccessLog) -> ASGIApp:
    """An app behind what every request passes first."""
    return LoggedRequests(Guard(app, allowed=settings.allow_origin, tls=settings.certificate is not None), log)


def health_route(app: FastAPI) -> None:
    """Have an app say that it is there."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}


def _people_routes(
    app: FastAPI, settings: CollectSettings, flow: Flow, sockets: LiveSockets, iteration: OpenIteration
) -> None:
    joins = AddressLimit(settings.joins_per_s, settings.join_burst)

    @app.post("/api/join")
    async def join(request: Request, body: JoinRequest) -> JoinAnswer:
        if not joins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many people joined from this address just now. Wait a moment.")
        admission = await flow.labels.run(_admit, flow.labels.store, body.invitation, iteration)
        return JoinAnswer(token=admission.token)

    @app.get("/available")
    async def available() -> Response:
        lobby = flow.lobby
        free = min(lobby.free, max(0, sockets.open.limit - sockets.open.now))
        state = Availability(free=free, capacity=lobby.capacity, waiting=lobby.waiting)
        return JSONResponse(state.model_dump(), 200 if free else 503, headers={"cache-control": "no-store"})

    health_route(app)

    @app.websocket(WEBSOCKET_PATH)
    async def live(websocket: WebSocket) -> None:
        await sockets.serve(websocket)


def _admit(labels: LabelStore, invitation: str, iteration: OpenIteration) -> Admission:
    return labels.use_invitation(invitation, iteration=iteration.later())


def page_routes(app: FastAPI, pages: PageFiles, places: dict[str, str]) -> None:
    """The built pages' files, and the pages themselves where people look for them.

    Args:
        app: gets the routes; they come last, because they take whatever is left.
        pages: the files.
        places: path → the file that is the page there.
    """

    @app.get("/{path:path}")
    async def file(request: Request, path: str) -> Response:
        found = pages.answer(request, places.get(request.url.path))
        if found is None:
            raise HTTPException(404, "There is nothing here.")
        return found
