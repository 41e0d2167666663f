"""The routes of the games page, and nothing else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ui_collect.access_log import address_of
from ui_collect.admin_access import COOKIE, COOKIE_S, AdminAccess
from ui_collect.games.desk import GamesDesk
from ui_collect.games.messages import PREFIX, EnterRequest, GameId, GamesWanted, MeAnswer, Stamp
from ui_collect.games.settings import GamesSettings
from ui_collect.limits import AddressLimit

_NOT_KEPT = {"cache-control": "no-store"}
# A picture never changes under its game's stamp.
_FOR_LONG = {"cache-control": "private, max-age=86400, immutable"}

GameIdPath = Annotated[GameId, Path()]
StampPath = Annotated[Stamp, Path()]
StepPath = Annotated[int, Path(ge=0, le=99_999)]


def games_routes(desk: GamesDesk, settings: GamesSettings, access: AdminAccess) -> APIRouter:
    """The routes below ``/api/games``.

    Args:
        desk: what is behind them.
        settings: the server's.
        access: who may look.
    """
    router = APIRouter(prefix=PREFIX)
    tries = AddressLimit(settings.joins_per_s, settings.join_burst)
    requests = AddressLimit(settings.requests_per_s, settings.request_burst)

    def inside(request: Request) -> None:
        address = address_of(request.scope)
        if not access.admits(request):
            if not tries.take(address):
                raise HTTPException(429, "Too many attempts. Wait a moment.")
            raise HTTPException(401, "Open the link that the server printed.")
        if not requests.take(address):
            raise HTTPException(429, "Too many requests just now. Wait a moment.")

    @router.post("/enter")
    async def enter(request: Request, response: Response, body: EnterRequest) -> MeAnswer:
        if not tries.take(address_of(request.scope)):
            raise HTTPException(429, "Too many attempts. Wait a moment.")
        if not access.right(body.token):
            raise HTTPException(401, "This link is not known here any more. The server prints a new one at each start.")
        # The path keeps it apart from the dashboard's cookie of the same name.
        response.set_cookie(
            COOKIE,
            access.login(),
            max_age=COOKIE_S,
            path=PREFIX,
            secure=access.secure,
            httponly=True,
            samesite="strict",
        )
        return MeAnswer(inside=True)

    @router.get("/me")
    async def who_am_i(request: Request) -> MeAnswer:
        return MeAnswer(inside=access.admits(request))

    @router.get("/list", dependencies=[Depends(inside)])
    async def games(wanted: Annotated[GamesWanted, Query()]) -> Response:
        return _json(await desk.games(wanted))

    @router.get("/games/{game_id}", dependencies=[Depends(inside)])
    async def game(game_id: GameIdPath) -> Response:
        return _json(await desk.game(game_id))

    @router.get("/games/{game_id}/{stamp}/pictures/{step}", dependencies=[Depends(inside)])
    async def picture(game_id: GameIdPath, stamp: StampPath, step: StepPath) -> Response:
        return Response(await desk.picture(game_id, stamp, step), media_type="image/png", headers=_FOR_LONG)

    return router


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers=_NOT_KEPT)
