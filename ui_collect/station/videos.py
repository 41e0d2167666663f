"""Videos for the web server: from the cache, or made by processes of their own."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.store import Store
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.background_films import BackgroundFilms
from ui_collect.film_process import film_words
from ui_collect.label_calls import LabelCalls
from ui_collect.station.recordings import Recording
from ui_collect.station.video_cache import Made, VideoCache
from ui_collect.station.video_worker import MakeVideo


class Videos:
    """Finds videos or has them made.

    Args:
        store: where the cache lies.
        made: what is made: videos, or the small pictures, which must not wait for any.
        settings: how long, how many.
        calls: whose threads look at files.
    """

    def __init__(self, store: Store, made: Made, settings: AnnotationSettings, calls: LabelCalls) -> None:
        self._cache = VideoCache.of(store, made, settings.cache_mb)
        self._calls = calls
        worker = film_words("ui_collect.station.video_worker", store, made, settings.cache_mb)
        self._films = BackgroundFilms(f"{made}s", worker, settings, "episode")

    async def file(self, recording: Recording) -> Path:
        """Where a recording's video lies; it is there when this returns.

        Raises:
            HTTPException: 409 it cannot be made, 503 not now.
        """
        if not await self._calls.run(self._cache.holds, recording.stamp):
            await self._films.make(recording.stamp, MakeVideo(stamp=recording.stamp, path=str(recording.path)))
        return self._cache.file(recording.stamp)

    async def stop(self) -> None:
        """End the process."""
        await self._films.stop()
