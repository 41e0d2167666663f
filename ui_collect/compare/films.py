"""Films of clips: made before anybody is asked of them, and found for whoever looks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from starlette.exceptions import HTTPException

from hitl_ops.contracts.store import Store
from ui_collect.background_films import BackgroundFilms
from ui_collect.compare.film_worker import MakeClip, sheets_beside
from ui_collect.compare.served_clips import ServedClips
from ui_collect.compare.settings import CompareSettings
from ui_collect.film_process import film_words
from ui_collect.label_calls import LabelCalls
from ui_collect.station.video_cache import VideoCache

logger = logging.getLogger(__name__)

FILM_WORKER = "ui_collect.compare.film_worker"
_LOOK_EVERY_S = 2.0
Wanted = tuple[ServedClips, str]
"""A clip, and the set it is of."""


class ClipFilms:
    """Finds films, or has them made by a process of their own.

    Args:
        store: where the cache lies.
        settings: how long, how many.
        calls: whose threads look at files.
        worker: the module that makes films.
    """

    def __init__(self, store: Store, settings: CompareSettings, calls: LabelCalls, worker: str = FILM_WORKER) -> None:
        cache_mb = settings.annotation.cache_mb
        self._root = store.root
        self._cache = VideoCache.of(store, "clips", cache_mb)
        self._sheets = sheets_beside(self._cache, store.root)
        self._calls = calls
        words = film_words(worker, store, "clips", cache_mb)
        self._films = BackgroundFilms("clips", words, settings.annotation, "clip")
        self._ahead: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    async def video(self, stamp: str, wanted: Wanted | None) -> Path:
        """A film, by its stamp; see :meth:`have`."""
        await self.have(stamp, wanted)
        return self._cache.file(stamp)

    async def sheet(self, stamp: str, wanted: Wanted | None) -> Path:
        """The sheet of a film's moments, by its stamp; see :meth:`have`."""
        await self.have(stamp, wanted)
        return self._sheets.file(stamp)

    async def have(self, stamp: str, wanted: Wanted | None) -> None:
        """Have a film and its sheet, made where they are not there yet.

        Args:
            stamp: names them.
            wanted: what they are of; None where no set knows it any more, and only the cache may have it.

        Raises:
            HTTPException: 404 there is no such clip, 409 it cannot be shown, 503 not now.
        """
        if await self._calls.run(self._holds, stamp):
            if wanted is not None:
                await self._calls.run(wanted[0].can_be_shown, wanted[1])
            return
        if wanted is None:
            raise HTTPException(404, "These clips are not here any more.")
        served, clip = wanted
        if clip in served.broken:
            raise HTTPException(409, "This clip cannot be shown. Its pair is left out.")
        asked = MakeClip(stamp=stamp, clip_set=str(served.clip_set.root), clip_id=clip, root=str(self._root))
        try:
            await self._films.make(stamp, asked)
        except HTTPException as refused:
            if refused.status_code == 409 and clip not in served.broken:
                await self._calls.run(served.cannot_be_shown, clip)
            raise
        await self._calls.run(served.can_be_shown, clip)

    def _holds(self, stamp: str) -> bool:
        return self._cache.holds(stamp) and self._sheets.holds(stamp)

    def keep_ahead(self, next_clips: Callable[[], list[Wanted]]) -> None:
        """From now on, make films before anybody asks.

        Args:
            next_clips: the clips people are asked of next, the first ones first; called in a thread.
        """
        self._ahead = asyncio.create_task(self._keep_ahead(next_clips), name="films ahead")

    def look(self) -> None:
        """Have it looked at once what is wanted next."""
        self._look.set()

    async def _keep_ahead(self, next_clips: Callable[[], list[Wanted]]) -> None:
        while True:
            try:
                busy = await self._made_one(next_clips)
            except Exception as error:
                # Whatever it is, films are made for those who ask; what comes ahead is tried again.
                logger.warning("films are not made ahead just now: %s", error)
                busy = False
            if not busy:
                self._look.clear()
                try:
                    await asyncio.wait_for(self._look.wait(), _LOOK_EVERY_S)
                except TimeoutError:
                    continue

    async def _made_one(self, next_clips: Callable[[], list[Wanted]]) -> bool:
        """Make the first film that is missing; whether there was one."""
        for served, clip in await self._calls.run(next_clips):
            stamp = served.stamps[clip]
            if clip in served.broken:
                continue
            if await self._calls.run(self._holds, stamp):
                await self._calls.run(served.can_be_shown, clip)
                continue
            try:
                await self.have(stamp, (served, clip))
            except HTTPException as refused:
                return refused.status_code == 409
            return True
        return False

    async def stop(self) -> None:
        """End what makes films."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)
        await self._films.stop()
