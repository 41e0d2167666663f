"""The annotation page's routes: who asks, how often they may, and nothing else."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hitl_ops.labels.rows import Annotator
from ui_collect.access_log import address_of
from ui_collect.annotate.desk import AnnotationDesk
from ui_collect.annotate.messages import (
    BEARER,
    PREFIX,
    Alive,
    Figures,
    Filter,
    FinishAnswer,
    FinishRequest,
    JoinAnswer,
    JoinRequest,
    MarkAnswer,
    MarkRequest,
    OpenAnswer,
    PlayId,
    PromptAnswer,
    QueueAnswer,
    ReviewAnswer,
    ReviewRequest,
)
from ui_collect.limits import AddressLimit
from ui_collect.web_settings import WebSettings

_CHOSEN_AT_MOST = 500
_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST = 5.0, 50
_NOT_KEPT = {"cache-control": "no-store"}
_OWN = {"cache-control": "private, no-cache", "vary": "accept-encoding, authorization"}

Index = Annotated[int, Path(ge=0, le=100_000)]
PlayPath = Annotated[PlayId, Path()]


def annotation_routes(desk: AnnotationDesk, settings: WebSettings) -> APIRouter:
    """The routes below ``/api/annotate``.

    Args:
        desk: what is behind them.
        settings: the server's.
    """
    router = APIRouter(prefix=PREFIX)
    known = Depends(_who(desk))
    joins = AddressLimit(settings.joins_per_s, settings.join_burst)

    @router.post("/join")
    async def join(request: Request, body: JoinRequest) -> JoinAnswer:
        if not joins.take(address_of(request.scope)):
            raise HTTPException(429, "Too many people joined from this address just now. Wait a moment.")
        return await desk.join(body.token, body.name)

    @router.get("/queue")
    async def queue(
        which: Annotated[Filter, Query(alias="filter")] = "all",
        play: Annotated[list[PlayId], Query(max_length=_CHOSEN_AT_MOST)] = [],  # noqa: B006  # never written to
        iteration: Annotated[int | None, Query(ge=0, le=999_999)] = None,
        me: Annotator = known,
    ) -> QueueAnswer:
        if iteration is not None and iteration != me.iteration:
            raise HTTPException(403, f"Your invitation is for iteration {me.iteration}.")
        return await desk.queue(me, which, play)

    @router.post("/plays/{play}/open")
    async def open_play(play: PlayPath, me: Annotator = known) -> OpenAnswer:
        return await desk.open(me, play)

    @router.post("/plays/{play}/alive")
    async def alive(play: PlayPath, body: Alive, me: Annotator = known) -> OpenAnswer:
        return await desk.alive(me, play, body.seconds)

    @router.get("/plays/{play}")
    async def show(request: Request, play: PlayPath, me: Annotator = known) -> Response:
        shown = await desk.show(me, play)
        # A few hundred kilobytes of actions that could be named: written and compressed beside the loop.
        packed = "gzip" in request.headers.get("accept-encoding", "")

        def written() -> bytes:
            text = shown.model_dump_json().encode()
            return gzip.compress(text, compresslevel=4) if packed else text

        encoding = {"content-encoding": "gzip"} if packed else {}
        headers = {**_NOT_KEPT, "vary": "accept-encoding", **encoding}
        return Response(await desk.calls.run(written), media_type="application/json", headers=headers)

    @router.get("/plays/{play}/decisions/{index}/prompt")
    async def prompt(play: PlayPath, index: Index, me: Annotator = known) -> PromptAnswer:
        return PromptAnswer(prompt=await desk.prompt(me, play, index))

    @router.get("/plays/{play}/film")
    async def film(request: Request, play: PlayPath, me: Annotator = known) -> Response:
        made = await desk.film(me, play)
        headers = {**_OWN, "etag": made.tag}
        if request.headers.get("if-none-match") == made.tag:
            return Response(status_code=304, headers=headers)
        body = made.compressed
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
        else:
            body = await desk.calls.run(gzip.decompress, body)
        return Response(body, media_type="application/octet-stream", headers=headers)

    @router.post("/labels")
    async def mark(body: MarkRequest, me: Annotator = known) -> MarkAnswer:
        return await desk.mark(me, body)

    @router.post("/reviews")
    async def review(body: ReviewRequest, me: Annotator = known) -> ReviewAnswer:
        return await desk.review(me, body)

    @router.post("/iteration/finished")
    async def finish(body: FinishRequest, me: Annotator = known) -> FinishAnswer:
        return await desk.finish(me, body.key)

    @router.get("/figures")
    async def figures(me: Annotator = known) -> Figures:
        return await desk.figures(me)

    return router


def _who(desk: AnnotationDesk) -> Callable[[Request], object]:
    """Tells who asks, and refuses whoever is unknown or asks too often."""
    strangers = AddressLimit(_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST)
    requests = AddressLimit(desk.settings.requests_per_s, desk.settings.request_burst)

    async def annotator(request: Request) -> Annotator:
        given = BEARER.fullmatch(request.headers.get("authorization", ""))
        found = await desk.annotator(given[1]) if given is not None else None
        if found is None:
            if not strangers.take(address_of(request.scope)):
                raise HTTPException(429, "Too many attempts. Wait a moment.")
            raise HTTPException(401, "Your annotation link is not known here any more. Ask for a new one.")
        if not requests.take(found.id):
            raise HTTPException(429, "Too many requests just now. Wait a moment.")
        return found

    return annotator
