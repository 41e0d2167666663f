"""Films for the web server: from the cache, or made by a process of its own; its loop never replays anything."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import Annotator, EpisodePlay
from ui_collect.annotate.film_cache import FilmCache
from ui_collect.annotate.film_worker import MakeFilm, Outcome
from ui_collect.annotate.reviewed_play import ReviewedPlay
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.label_calls import LabelCalls
from ui_collect.simulation.child import Child

logger = logging.getLogger(__name__)

_AT_HAND = 16
"""Plays kept in memory: those that annotators are at."""
_TRIES = 3
_STOP_S = 5.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
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


@dataclass
class _Awaited:
    asked: MakeFilm
    outcome: asyncio.Future[Outcome]
    tries: int = 1


class FilmService:
    """Finds or makes films.

    Args:
        store: where the logs lie.
        settings: how long, how many.
        labels: whose threads read files.
    """

    def __init__(self, store: Store, settings: AnnotationSettings, labels: LabelCalls) -> None:
        self._cache = FilmCache.of(store, settings.cache_mb)
        self._settings = settings
        self._labels = labels
        self._at_hand: OrderedDict[str, ReviewedPlay] = OrderedDict()
        self._awaited: dict[str, _Awaited] = {}
        self._worker = Child(
            "films",
            ["-m", "ui_collect.annotate.film_worker", "--root", str(store.root), "--cache-mb", str(settings.cache_mb)],
            heard=self._heard,
            renewed=self._ask_again,
            environment=_ONE_THREAD,
        )
        self._starting: asyncio.Task[None] | None = None

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
        for awaited in self._awaited.values():
            awaited.outcome.cancel()
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
            await self._worker.stop(patience_s=_STOP_S)

    async def _found(self, play: EpisodePlay, annotator: Annotator, read: Callable[[str], ResultT]) -> ResultT:
        for _ in range(_TRIES):
            if not await self._labels.run(self._cache.holds, play.id):
                await self._made(play, annotator)
            try:
                return await self._labels.run(read, play.id)
            except FileNotFoundError:
                continue  # let go in between, in favour of others
        raise HTTPException(503, "Too many plays are looked at just now. Please try again.")

    async def _made(self, play: EpisodePlay, annotator: Annotator) -> None:
        if self._starting is None:
            # At the first film only: where nobody annotates, there is no process.
            self._starting = asyncio.create_task(self._worker.start())
        try:
            await asyncio.shield(self._starting)
        except OSError as error:
            logger.error("the process that makes films cannot be started: %s", error)
            self._starting = None
            raise HTTPException(503, "The replay cannot be made just now. Please try again.") from None
        awaited = self._awaited.get(play.id)
        if awaited is None:
            if len(self._awaited) >= self._settings.films_waiting:
                raise HTTPException(503, "Too many plays are looked at just now. Please try again.")
            asked = MakeFilm(
                play_id=play.id,
                session_id=play.session_id,
                program=annotator.program,
                iteration=annotator.iteration,
            )
            awaited = self._awaited[play.id] = _Awaited(asked, asyncio.get_running_loop().create_future())
            self._worker.send(asked.model_dump())
        try:
            outcome = await asyncio.wait_for(asyncio.shield(awaited.outcome), self._settings.film_within_s)
        except TimeoutError:
            raise HTTPException(503, "The replay is still being made. Please try again.") from None
        except asyncio.CancelledError:
            if not awaited.outcome.cancelled():
                raise
            raise HTTPException(503, "The server stops. Please try again.") from None
        if outcome == "damaged":
            raise HTTPException(409, "The record of this play cannot be shown. Choose another one.")
        if outcome == "unwritten":
            raise HTTPException(503, "The replay cannot be kept just now. Please try again.")

    def _heard(self, message: Sequence[Any]) -> None:
        play_id, outcome, reason = message
        if reason:
            logger.error("the film of play %s: %s", play_id, reason)
        self._settle(play_id, outcome)

    def _settle(self, play_id: str, outcome: Outcome) -> None:
        awaited = self._awaited.pop(play_id, None)
        if awaited is not None and not awaited.outcome.done():
            awaited.outcome.set_result(outcome)

    def _ask_again(self) -> None:
        """The process died, most likely of what it was at: the first that was asked for."""
        if self._awaited:
            play_id, first = next(iter(self._awaited.items()))
            first.tries += 1
            if first.tries > _TRIES:
                logger.error("the film of play %s ended its process several times and is given up", play_id)
                self._settle(play_id, "damaged")
        for awaited in self._awaited.values():
            self._worker.send(awaited.asked.model_dump())
