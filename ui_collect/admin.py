"""The dashboard and what it needs: log in, look, make and revoke invitations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import Field, StringConstraints
from starlette.exceptions import HTTPException

from hitl_ops.labels.rows import Invitation, Purpose
from ui_collect.access_log import address_of
from ui_collect.admin_access import COOKIE, COOKIE_S, AdminAccess
from ui_collect.invitation_links import PROGRAM, invitation_link
from ui_collect.label_calls import LabelCalls
from ui_collect.limits import AddressLimit
from ui_collect.open_iteration import OpenIteration
from ui_collect.overview import OverviewPage
from ui_collect.protocol import Message
from ui_collect.settings import CollectSettings
from ui_collect.text_input import Token

_PAGES = Environment(loader=PackageLoader("ui_collect", "dashboard"), autoescape=select_autoescape(default=True))
_ASSETS = {"dashboard.js": "text/javascript", "dashboard.css": "text/css"}
_LOGINS_PER_S, _LOGIN_BURST = 1.0, 5


class Login(Message):
    """Body of ``POST /admin/login``."""

    token: Token


class NewInvitation(Message):
    """Body of ``POST /admin/invitations``."""

    max_uses: int = Field(default=1, ge=1, le=100_000, description="people who may come in by it")
    days: float = Field(default=30.0, gt=0, le=3650, description="days until it lets nobody in any more")
    iteration: int | None = Field(default=None, ge=0, le=999_999, description="by default the server's")
    purpose: Purpose = Field(default="play", description="to play, or to annotate what was played")


class MadeInvitation(Message):
    """Answer of ``POST /admin/invitations``: the only time the link is told."""

    invitation: Invitation
    link: str


InvitationId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]


def base_url(request: Request, settings: CollectSettings) -> str:
    """How people reach this server."""
    return settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


def admin_routes(
    settings: CollectSettings,
    access: AdminAccess,
    labels: LabelCalls,
    overview: OverviewPage,
    iteration: OpenIteration,
) -> APIRouter:
    """The routes below ``/admin``.

    Args:
        settings: the server's.
        access: who may.
        labels: the label store.
        overview: the figures.
        iteration: which iteration is collected for.
    """
    router = APIRouter(prefix="/admin")
    logins = AddressLimit(_LOGINS_PER_S, _LOGIN_BURST)

    def admin(request: Request) -> None:
        if not access.admits(request):
            raise HTTPException(401, "Log in with the admin token.")

    @router.get("")
    async def dashboard(request: Request) -> HTMLResponse:
        inside = access.admits(request)
        page = _PAGES.get_template("dashboard.html").render(
            inside=inside, program=PROGRAM, iteration=iteration.now(), target=settings.target
        )
        return HTMLResponse(page, headers={"cache-control": "no-store"})

    @router.get("/assets/{name}")
    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(404)
        return Response(files("ui_collect").joinpath("dashboard", name).read_bytes(), media_type=_ASSETS[name])

    @router.post("/login")
    async def login(request: Request, body: Login) -> Response:
        if not logins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many attempts. Wait a moment.")
        if not access.right(body.token):
            raise HTTPException(401, "This is not the admin token.")
        answer = JSONResponse({})
        answer.set_cookie(
            COOKIE,
            access.login(),
            max_age=COOKIE_S,
            path="/admin",
            secure=access.secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.post("/logout")
    async def logout(request: Request) -> Response:
        access.logout(request)
        answer = JSONResponse({})
        answer.delete_cookie(COOKIE, path="/admin", secure=access.secure, httponly=True, samesite="strict")
        return answer

    @router.get("/api/overview", dependencies=[Depends(admin)])
    async def figures() -> JSONResponse:
        return JSONResponse(await overview.figures(), headers={"cache-control": "no-store"})

    @router.get("/invitations", dependencies=[Depends(admin)])
    async def invitations() -> list[Invitation]:
        return await labels.run(labels.store.invitations, PROGRAM)

    @router.post("/invitations", dependencies=[Depends(admin)], status_code=201)
    async def invite(request: Request, body: NewInvitation) -> MadeInvitation:
        invitation, token = await labels.run(
            labels.store.create_invitation,
            PROGRAM,
            iteration.now() if body.iteration is None else body.iteration,
            body.max_uses,
            datetime.now(UTC) + timedelta(days=body.days),
            purpose=body.purpose,
        )
        link = invitation_link(base_url(request, settings), token, body.purpose)
        return MadeInvitation(invitation=invitation, link=link)

    @router.post("/invitations/{invitation_id}/revoke", dependencies=[Depends(admin)])
    async def revoke(invitation_id: InvitationId) -> Invitation:
        return await labels.run(labels.store.revoke_invitation, invitation_id)

    return router
