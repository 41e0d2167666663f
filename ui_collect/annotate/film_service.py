"""Films for the web server: from the cache, or made by a process of its own; its loop never replays anything."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.exceptions import HTTPException

from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import Annotator, EpisodePlay
from ui_collect.annotate.film_cache import FilmCache
from ui_collect.annotate.film_worker import MakeFilm
from ui_collect.annotate.reviewed_play import ReviewedPlay
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.background_films import BackgroundFilms
from ui_collect.label_calls import LabelCalls

_AT_HAND = 16
"""Plays kept in memory: those that annotators are at."""
_TRIES = 3
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Film:
    """A film as it is sent.

    Attributes:
        compressed: gzip.
        tag: names its content.
    """

    compressed: bytes
    tag: str


class FilmService:
    """Finds or makes films.

    Args:
        store: where the logs lie.
        settings: how long, how many.
        labels: whose threads read files.
    """

    def __init__(self, store: Store, settings: AnnotationSettings, labels: LabelCalls) -> None:
        self._cache = FilmCache.of(store, settings.cache_mb)
        self._labels = labels
        self._at_hand: OrderedDict[str, ReviewedPlay] = OrderedDict()
        words = ["--root", str(store.root), "--cache-mb", str(settings.cache_mb)]
        self._films = BackgroundFilms("films", ["-m", "ui_collect.annotate.film_worker", *words], settings, "play")

    async def play(self, play: EpisodePlay, annotator: Annotator) -> ReviewedPlay:
        """A play as annotators see it.

        Raises:
            HTTPException: 409 it cannot be shown, 503 not now.
        """
        known = self._at_hand.get(play.id)
        if known is None:
            known = self._at_hand[play.id] = await self._found(play, annotator, self._cache.play)
            if len(self._at_hand) > _AT_HAND:
                self._at_hand.popitem(last=False)
        else:
            self._at_hand.move_to_end(play.id)
        return known

    async def film(self, play: EpisodePlay, annotator: Annotator) -> Film:
        """A play's film.

        Raises:
            HTTPException: 409 it cannot be shown, 503 not now.
        """

        def read(play_id: str) -> Film:
            compressed = self._cache.film(play_id)
            return Film(compressed, f'"{hashlib.sha256(compressed).hexdigest()[:24]}"')

        return await self._found(play, annotator, read)

    async def stop(self) -> None:
        """End the process; whoever waits is told to try again."""
        await self._films.stop()

    async def _found(self, play: EpisodePlay, annotator: Annotator, read: Callable[[str], ResultT]) -> ResultT:
        for _ in range(_TRIES):
            if not await self._labels.run(self._cache.holds, play.id):
                asked = MakeFilm(
                    play_id=play.id,
                    session_id=play.session_id,
                    program=annotator.program,
                    iteration=annotator.iteration,
                )
                await self._films.make(play.id, asked)
            try:
                return await self._labels.run(read, play.id)
            except FileNotFoundError:
                continue  # let go in between, in favour of others
        raise HTTPException(503, "Too many plays are looked at just now. Please try again.")
