"""The verdict page's routes: who asks, how often they may, and nothing else.

People are known by a cookie, because a browser plays a video without any other header; programs may send the same
token as ``Authorization: Bearer``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.rows import Annotator
from ui_collect.access_log import address_of
from ui_collect.annotate.messages import BEARER
from ui_collect.limits import AddressLimit
from ui_collect.station.desk import VerdictDesk
from ui_collect.station.messages import (
    PREFIX,
    EpisodeKey,
    HereAnswer,
    HereRequest,
    JoinAnswer,
    JoinRequest,
    MeAnswer,
    VerdictAnswer,
    VerdictRequest,
)
from ui_collect.web_settings import WebSettings

COOKIE = "flywheel_verdicts"
COOKIE_S = 30 * 24 * 3600
_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST = 5.0, 50
_OWN = {"cache-control": "private, no-cache"}
_MEDIA = {"cache-control": "private, max-age=3600"}

KeyPath = Annotated[EpisodeKey, Path()]


def verdict_routes(desk: VerdictDesk, settings: WebSettings) -> APIRouter:
    """The routes below ``/api/verdicts``.

    Args:
        desk: what is behind them.
        settings: the server's.
    """
    router = APIRouter(prefix=PREFIX)
    known = _who(desk)
    me_known = Depends(known)
    joins = AddressLimit(settings.joins_per_s, settings.join_burst)

    @router.post("/join")
    async def join(request: Request, response: Response, body: JoinRequest) -> JoinAnswer:
        if not joins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many people joined from this address just now. Wait a moment.")
        answer = await desk.join(body.token, body.name)
        response.set_cookie(
            COOKIE,
            answer.token,
            max_age=COOKIE_S,
            path=PREFIX,
            secure=settings.certificate is not None,
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.get("/me")
    async def who_am_i(request: Request) -> MeAnswer | None:
        # A browser that nobody has joined with asks as well, and that is no error.
        if COOKIE not in request.cookies and "authorization" not in request.headers:
            return None
        me = await known(request)
        return MeAnswer(id=me.id, name=me.display_name, target=desk.settings.target)

    @router.get("/episodes")
    async def episodes(request: Request, me: Annotator = me_known) -> Response:
        content = (await desk.listed(me)).model_dump_json().encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
        # Asked for every few seconds, and hardly ever different.
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_OWN, "etag": tag})
        return Response(content, media_type="application/json", headers={**_OWN, "etag": tag})

    @router.post("/episodes/{key}/here")
    async def here(key: KeyPath, body: HereRequest, me: Annotator = me_known) -> HereAnswer:
        return await desk.here(me, key, body.seconds)

    @router.get("/episodes/{key}/video")
    async def video(key: KeyPath, _me: Annotator = me_known) -> Response:
        return FileResponse(await desk.file(key, "video"), media_type="video/mp4", headers=_OWN)

    @router.get("/episodes/{key}/poster")
    async def poster(key: KeyPath, _me: Annotator = me_known) -> Response:
        return FileResponse(await desk.file(key, "poster"), media_type="image/jpeg", headers=_MEDIA)

    @router.get("/episodes/{key}/curves")
    async def curves(key: KeyPath, _me: Annotator = me_known) -> Response:
        try:
            found = await desk.curves(key)
        except UserError:
            raise HTTPException(409, "The recording of this episode cannot be read.") from None
        return Response(found.model_dump_json(), media_type="application/json", headers=_OWN)

    @router.post("/labels")
    async def say(body: VerdictRequest, me: Annotator = me_known) -> VerdictAnswer:
        return await desk.say(me, body)

    return router


def _who(desk: VerdictDesk) -> Callable[[Request], Awaitable[Annotator]]:
    """Tells who asks, and refuses whoever is unknown or asks too often."""
    strangers = AddressLimit(_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST)
    requests = AddressLimit(desk.settings.requests_per_s, desk.settings.request_burst)

    async def person(request: Request) -> Annotator:
        given = BEARER.fullmatch(request.headers.get("authorization", ""))
        token = given[1] if given is not None else request.cookies.get(COOKIE, "")
        found = await desk.person(token) if token else None
        if found is None:
            if not strangers.take(address_of(request.scope)):
                raise HTTPException(429, "Too many attempts. Wait a moment.")
            raise HTTPException(401, "Your link is not known here any more. Ask for a new one.")
        if not requests.take(found.id):
            raise HTTPException(429, "Too many requests just now. Wait a moment.")
        return found

    return person
