"""The routes of the page of marks, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.rows import Annotator
from ui_collect.known_people import join_route, who_asks
from ui_collect.marks.desk import MarkDesk
from ui_collect.marks.messages import PREFIX, CameraNumber, MarksAnswer, MarksRequest, PageAnswer
from ui_collect.station.messages import EpisodeKey, HereAnswer, HereRequest
from ui_collect.web_settings import WebSettings

COOKIE = "flywheel_marks"
_OWN = {"cache-control": "private, no-cache"}

KeyPath = Annotated[EpisodeKey, Path()]
CameraPath = Annotated[CameraNumber, Path()]


def mark_routes(desk: MarkDesk, settings: WebSettings) -> APIRouter:
    """The routes below ``/api/marks``.

    Args:
        desk: what is behind them.
        settings: the server's.
    """
    router = APIRouter(prefix=PREFIX)
    known = who_asks(desk.people, desk.settings.annotation, COOKIE)
    me_known = Depends(known)
    join_route(router, desk.people, settings, COOKIE)

    @router.get("/me")
    async def who_am_i(request: Request) -> PageAnswer | None:
        # A browser that nobody has joined with asks as well, and that is no error.
        if COOKIE not in request.cookies and "authorization" not in request.headers:
            return None
        return desk.page(await known(request))

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

    @router.get("/episodes/{key}/cameras/{camera}/video")
    async def film(key: KeyPath, camera: CameraPath, _me: Annotator = me_known) -> Response:
        return FileResponse(await desk.film(key, camera), media_type="video/mp4", headers=_OWN)

    @router.get("/episodes/{key}/curves")
    async def curves(key: KeyPath, _me: Annotator = me_known) -> Response:
        try:
            found = await desk.curves(key)
        except UserError:
            raise HTTPException(409, "The rows of this episode cannot be read.") from None
        return Response(found.model_dump_json(), media_type="application/json", headers=_OWN)

    @router.post("/labels")
    async def say(body: MarksRequest, me: Annotator = me_known) -> MarksAnswer:
        return await desk.say(me, body)

    return router
