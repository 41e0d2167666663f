"""Has a process of its own make films, so that no web server's loop waits for one; whoever asks twice waits once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.simulation.child import Child

logger = logging.getLogger(__name__)

_TRIES = 3
_STOP_S = 5.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Outcome = Literal["made", "damaged", "unwritten"]
"""Of a film: it lies in the cache; the record cannot be shown; the cache cannot be written."""


@dataclass
class _Awaited:
    asked: BaseModel
    outcome: asyncio.Future[Outcome]
    tries: int = 1


class BackgroundFilms:
    """Asks a process for films. It answers each with ``[key, outcome, reason]``, in any order.

    Args:
        name: for logs.
        arguments: what the process runs, e.g. ``["-m", "package.module", "--option"]``.
        settings: how long, how many.
        noun: what films are of, in messages to people.
    """

    def __init__(self, name: str, arguments: Sequence[str], settings: AnnotationSettings, noun: str) -> None:
        self._name = name
        self._noun = noun
        self._settings = settings
        self._awaited: dict[str, _Awaited] = {}
        self._worker = Child(
            name, arguments, heard=self._heard, renewed=self._ask_again, environment=_ONE_THREAD
        )  # fmt: skip
        self._starting: asyncio.Task[None] | None = None

    async def make(self, key: str, asked: BaseModel) -> None:
        """Have a film made, and wait until it is.

        Args:
            key: names the film; whoever asks for it meanwhile waits for the same.
            asked: what the process is told.

        Raises:
            HTTPException: 409 it cannot be shown, 503 not now.
        """
        if self._starting is None:
            # At the first film only: where nobody looks, there is no process.
            self._starting = asyncio.create_task(self._worker.start())
        try:
            await asyncio.shield(self._starting)
        except OSError as error:
            logger.error("the process that makes %s cannot be started: %s", self._name, error)
            self._starting = None
            raise HTTPException(503, "The replay cannot be made just now. Please try again.") from None
        awaited = self._awaited.get(key)
        if awaited is None:
            if len(self._awaited) >= self._settings.films_waiting:
                raise HTTPException(503, f"Too many {self._noun}s are looked at just now. Please try again.")
            awaited = self._awaited[key] = _Awaited(asked, asyncio.get_running_loop().create_future())
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
            raise HTTPException(409, f"The record of this {self._noun} cannot be shown. Choose another one.")
        if outcome == "unwritten":
            raise HTTPException(503, "The replay cannot be kept just now. Please try again.")

    async def stop(self) -> None:
        """End the process; whoever waits is told to try again."""
        for awaited in self._awaited.values():
            awaited.outcome.cancel()
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
            await self._worker.stop(patience_s=_STOP_S)

    def _heard(self, message: Sequence[Any]) -> None:
        key, outcome, reason = message
        if reason:
            logger.error("%s, %s: %s", self._name, key, reason)
        self._settle(key, outcome)

    def _settle(self, key: str, outcome: Outcome) -> None:
        awaited = self._awaited.pop(key, None)
        if awaited is not None and not awaited.outcome.done():
            awaited.outcome.set_result(outcome)

    def _ask_again(self) -> None:
        """The process died, most likely of what it was at: the first that was asked for."""
        if self._awaited:
            key, first = next(iter(self._awaited.items()))
            first.tries += 1
            if first.tries > _TRIES:
                logger.error("%s, %s: ended its process several times and is given up", self._name, key)
                self._settle(key, "damaged")
        for awaited in self._awaited.values():
            self._worker.send(awaited.asked.model_dump())
