"""The collection app: its routes, and how errors become answers."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import InvitationRefused, LabelStoreUnavailable, UnknownRecord
from ui_collect.access_log import AccessLog, LoggedRequests, address_of
from ui_collect.admin import admin_routes
from ui_collect.admin_access import AdminAccess
from ui_collect.flow import Flow
from ui_collect.http_messages import Availability, ErrorAnswer, JoinAnswer, JoinRequest
from ui_collect.limits import AddressLimit
from ui_collect.live_socket import LiveSockets
from ui_collect.overview import OverviewPage
from ui_collect.page_files import PageFiles
from ui_collect.protocol import WEBSOCKET_PATH
from ui_collect.security import Guard
from ui_collect.settings import CollectSettings

logger = logging.getLogger(__name__)

_CODES = {401: "forbidden", 403: "forbidden", 404: "not_found", 405: "bad_request", 429: "too_many"}


def collection_app(
    settings: CollectSettings,
    *,
    flow: Flow,
    sockets: LiveSockets,
    pages: PageFiles | None,
    access: AdminAccess,
    overview: OverviewPage,
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
        log: where requests are noted.
    """
    app = FastAPI(title="Flywheel collection", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(Exception, _defect)
    _people_routes(app, settings, flow, sockets)
    app.include_router(admin_routes(settings, access, flow.labels, overview))
    if pages is not None:
        _page_routes(app, pages)
    return LoggedRequests(Guard(app, allowed=settings.allow_origin, tls=settings.certificate is not None), log)


def _people_routes(app: FastAPI, settings: CollectSettings, flow: Flow, sockets: LiveSockets) -> None:
    joins = AddressLimit(settings.joins_per_s, settings.join_burst)

    @app.post("/api/join")
    async def join(request: Request, body: JoinRequest) -> JoinAnswer:
        if not joins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many people joined from this address just now. Wait a moment.")
        admission = await flow.labels.run(flow.labels.store.use_invitation, body.invitation)
        return JoinAnswer(token=admission.token)

    @app.get("/available")
    async def available() -> Response:
        lobby = flow.lobby
        free = min(lobby.free, max(0, sockets.open.limit - sockets.open.now))
        state = Availability(free=free, capacity=lobby.capacity, waiting=lobby.waiting)
        return JSONResponse(state.model_dump(), 200 if free else 503, headers={"cache-control": "no-store"})

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.websocket(WEBSOCKET_PATH)
    async def live(websocket: WebSocket) -> None:
        await sockets.serve(websocket)


def _page_routes(app: FastAPI, pages: PageFiles) -> None:
    @app.get("/")
    @app.get("/join")
    async def page(request: Request) -> Response:
        return pages.index(request)

    @app.get("/{path:path}")
    async def file(request: Request, path: str) -> Response:
        found = pages.answer(request)
        if found is None:
            raise HTTPException(404, "There is nothing here.")
        return found


def _answer(status: int, code: str, message: str) -> JSONResponse:
    body = ErrorAnswer.model_validate({"code": code, "message": message})
    return JSONResponse(body.model_dump(), status, headers={"retry-after": "5"} if status in (429, 503) else None)


async def _invalid(_request: Request, _error: Exception) -> Response:
    # What was sent is not repeated, and which of our fields it missed is in the documentation.
    return _answer(400, "bad_request", "The request is not valid.")


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, _CODES.get(error.status_code, "bad_request"), str(error.detail))


async def _user_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, InvitationRefused):
        return _answer(403, "invitation_used_up" if error.reason == "used_up" else "forbidden", _sentence(error.what))
    if isinstance(error, UnknownRecord):
        return _answer(404, "not_found", "There is no such record.")
    if isinstance(error, LabelStoreUnavailable):
        logger.error("%s", error)
        return _answer(503, "unavailable", "That could not be stored just now. Please try again.")
    return _answer(400, "bad_request", "The request is not valid.")


async def _defect(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "server_error", "Something went wrong here. It has been noted.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
