"""The homes pages draw, as GLB: of those shown to somebody, by scene id. No request becomes a path or a home."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hitl_ops.worlds.habitat.home_export import home_glb
from hitl_ops.worlds.household.scene_description import SceneDescription

PREFIX = "/api/homes"
_KEPT = 256
_MEDIA_TYPE = "model/gltf-binary"


@dataclass(frozen=True)
class HomeFile:
    """A home's GLB, ready to be sent."""

    content: bytes
    compressed: bytes
    tag: str

    @classmethod
    def of(cls, scene: SceneDescription) -> HomeFile:
        """Make it; takes milliseconds."""
        content = home_glb(scene)
        tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
        return cls(content, gzip.compress(content, mtime=0), tag)


class HomeFiles:
    """The homes somebody was told of, those told of last before the others.

    Args:
        kept: how many; a page asks for a home as soon as it was told of it.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._most = kept
        self._scenes: OrderedDict[str, SceneDescription] = OrderedDict()
        self._files: dict[str, Future[HomeFile]] = {}
        self._maker = ThreadPoolExecutor(1, "homes")

    def keep(self, scene: SceneDescription) -> None:
        """A page is about to be told of a home, and will ask for it: it is made meanwhile."""
        name = scene.scene_id
        if self._scenes.get(name) != scene:
            self._scenes[name] = scene
            self._files[name] = self._maker.submit(HomeFile.of, scene)
        self._scenes.move_to_end(name)
        while len(self._scenes) > self._most:
            oldest, _ = self._scenes.popitem(last=False)
            del self._files[oldest]

    async def file(self, scene_id: str) -> HomeFile | None:
        """The file of a home; None where nobody was told of one of that name."""
        made = self._files.get(scene_id)
        if made is None:
            return None
        # A page that goes away while it waits takes nothing from the next one that asks.
        return await asyncio.shield(asyncio.wrap_future(made))


def home_route(app: FastAPI, homes: HomeFiles) -> None:
    """Have an app send the homes its pages draw."""

    @app.get(PREFIX + "/{scene_id}.glb")
    async def home(request: Request, scene_id: str) -> Response:
        file = await homes.file(scene_id)
        if file is None:
            raise HTTPException(404, "Nobody was shown such a home.")
        headers = {"etag": file.tag, "cache-control": "private, no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        if packed:
            headers["content-encoding"] = "gzip"
        return Response(file.compressed if packed else file.content, media_type=_MEDIA_TYPE, headers=headers)
