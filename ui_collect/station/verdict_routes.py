"""The verdict page's routes, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.rows import Annotator
from ui_collect.known_people import join_route, who_asks
from ui_collect.station.desk import VerdictDesk
from ui_collect.station.messages import (
    PREFIX,
    EpisodeKey,
    HereAnswer,
    HereRequest,
    MeAnswer,
    VerdictAnswer,
    VerdictRequest,
)
from ui_collect.web_settings import WebSettings

COOKIE = "flywheel_verdicts"
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
    known = who_asks(desk.people, desk.settings, COOKIE)
    me_known = Depends(known)
    join_route(router, desk.people, settings, COOKIE)

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
