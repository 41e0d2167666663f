"""The routes stations upload to; see ``robot_client/sync/http_upload.py`` for the other half."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hitl_ops.contracts.errors import CannotWrite
from hitl_ops.contracts.station_epoch import EpochManifest
from ui_collect.access_log import address_of
from ui_collect.limits import AddressLimit
from ui_collect.station.incoming import Coming, IncomingEpisodes, NameTaken, OutOfStep, UploadRefused, UploadState

logger = logging.getLogger(__name__)

PREFIX = "/upload"
PIECE_BYTES = 8 * 2**20
"""Largest piece accepted."""
MANIFEST_BYTES = 2 * 2**20
"""Largest manifest: some ten thousand episodes."""
_PIECE_WITHIN_S = 120.0
_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST = 1.0, 20
ResultT = TypeVar("ResultT")

Epoch = Annotated[int, Path(ge=0, le=999_999)]
Text = Annotated[str, Path(max_length=160)]


def upload_routes(incoming: IncomingEpisodes, right_token: Callable[[str], bool]) -> APIRouter:
    """The routes below ``/upload``.

    Args:
        incoming: where episodes go.
        right_token: whether a token is the stations'; must compare in constant time.
    """
    router = APIRouter(prefix=PREFIX, dependencies=[Depends(_known(right_token))])

    def announced(
        task: Text,
        epoch: Epoch,
        name: Text,
        sha256: Annotated[str, Query(max_length=64)],
        size: Annotated[int, Query(alias="bytes")],
    ) -> Coming:
        try:
            return incoming.coming(task, epoch, name, sha256, size)
        except UploadRefused as error:
            raise HTTPException(422, str(error)) from None

    file = Depends(announced)

    @router.get("/{task}/{epoch}/{name}")
    async def state(coming: Coming = file) -> Response:
        return await _answered(lambda: incoming.state(coming))

    @router.put("/{task}/{epoch}/{name}")
    async def put(request: Request, offset: Annotated[int, Query(ge=0)], coming: Coming = file) -> Response:
        content = await _body(request, PIECE_BYTES)
        return await _answered(lambda: incoming.put(coming, offset, content))

    @router.post("/{task}/{epoch}/finished")
    async def finished(request: Request, task: Text, epoch: Epoch) -> Response:
        try:
            manifest = EpochManifest.model_validate_json(await _body(request, MANIFEST_BYTES))
        except ValidationError:
            raise HTTPException(422, "This is no manifest.") from None
        if (manifest.task, manifest.epoch) != (task, epoch):
            raise HTTPException(422, "The manifest is of another epoch.")
        await _kept(lambda: incoming.finish(manifest))
        return JSONResponse({"episodes": len(manifest.episodes)})

    return router


def _known(right_token: Callable[[str], bool]) -> Callable[[Request], object]:
    strangers = AddressLimit(_BAD_TOKENS_PER_S, _BAD_TOKEN_BURST)

    async def known(request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and right_token(token.strip()):
            return
        if not strangers.take(address_of(request.scope)):
            raise HTTPException(429, "Too many attempts. Wait a moment.")
        raise HTTPException(401, "The upload token is not right.")

    return known


async def _body(request: Request, limit: int) -> bytes:
    pieces, size = [], 0
    try:
        async with asyncio.timeout(_PIECE_WITHIN_S):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise HTTPException(413, f"A piece may have {limit} bytes.")
                pieces.append(piece)
    except ClientDisconnect:
        raise HTTPException(400, "The piece did not come whole.") from None
    except TimeoutError:
        raise HTTPException(408, "The piece came too slowly.") from None
    return b"".join(pieces)


async def _answered(work: Callable[[], UploadState]) -> Response:
    try:
        state = await _kept(work)
    except OutOfStep as error:
        return JSONResponse({"have": error.have, "complete": False, "message": str(error)}, 409)
    return JSONResponse({"have": state.have, "complete": state.complete})


async def _kept(work: Callable[[], ResultT]) -> ResultT:
    """Do what touches the disk beside the event loop; what goes wrong becomes an answer."""
    try:
        return await run_in_threadpool(work)
    except NameTaken as error:
        raise HTTPException(409, str(error)) from None
    except UploadRefused as error:
        raise HTTPException(422, str(error)) from None
    except CannotWrite as error:
        logger.error("%s", error)
        raise HTTPException(507, "The server cannot keep it: its disk is full, or cannot be written.") from None
