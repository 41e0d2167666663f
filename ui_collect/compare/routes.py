"""The routes of the compare page, and nothing else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, Response

from hitl_ops.labels.rows import Annotator
from ui_collect.compare.desk import CompareDesk
from ui_collect.compare.messages import (
    PREFIX,
    ChoiceAnswer,
    ChoiceRequest,
    OverviewAnswer,
    PageAnswer,
    QuestionsAnswer,
    QuestionsRequest,
    Stamp,
)
from ui_collect.known_people import join_route, who_asks
from ui_collect.web_settings import WebSettings

COOKIE = "flywheel_compare"
# What is made of a clip never changes under its stamp.
_FOR_LONG = {"cache-control": "private, max-age=86400, immutable"}

StampPath = Annotated[Stamp, Path()]


def compare_routes(desk: CompareDesk, settings: WebSettings) -> APIRouter:
    """The routes below ``/api/compare``.

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

    @router.post("/questions")
    async def questions(body: QuestionsRequest, me: Annotator = me_known) -> QuestionsAnswer:
        return await desk.questions(me, body)

    @router.get("/films/{stamp}/video")
    async def video(stamp: StampPath, _me: Annotator = me_known) -> Response:
        return FileResponse(await desk.video(stamp), media_type="video/mp4", headers=_FOR_LONG)

    @router.get("/films/{stamp}/sheet")
    async def sheet(stamp: StampPath, _me: Annotator = me_known) -> Response:
        return FileResponse(await desk.sheet(stamp), media_type="image/jpeg", headers=_FOR_LONG)

    @router.post("/labels")
    async def say(body: ChoiceRequest, me: Annotator = me_known) -> ChoiceAnswer:
        return await desk.say(me, body)

    @router.get("/overview")
    async def overview(me: Annotator = me_known) -> OverviewAnswer:
        return await desk.overview(me)

    return router
