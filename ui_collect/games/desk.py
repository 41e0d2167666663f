"""What the games page asks for: lists, games, pictures. Disks are waited for in other threads, never on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

from ui_collect.games.messages import GameAnswer, GameItem, GamesAnswer, GamesChoices, GamesWanted, StepItem
from ui_collect.games.served_games import GameDamaged, GameGone, GameShelf, ServedGame

_THREADS = 4
ResultT = TypeVar("ResultT")


class GamesDesk:
    """Answers as JSON and PNG; made in threads of its own, whose number bounds what is read at once.

    Args:
        shelf: where games are found.
    """

    def __init__(self, shelf: GameShelf) -> None:
        self._shelf = shelf
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="games")

    async def stop(self) -> None:
        """Finish what is being read."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def games(self, wanted: GamesWanted) -> bytes:
        """The list, a :class:`GamesAnswer` as JSON."""
        return await self._run(self._list, wanted)

    async def game(self, game_id: str) -> bytes:
        """One game, a :class:`GameAnswer` as JSON.

        Raises:
            HTTPException: 404 there is no such game, 409 it cannot be shown.
        """
        return await self._run(self._game, game_id)

    async def picture(self, game_id: str, stamp: str, step: int) -> bytes:
        """One picture as PNG.

        Raises:
            HTTPException: as :meth:`game`.
        """
        return await self._run(self._shelf.picture, game_id, stamp, step)

    async def _run(self, call: Callable[..., ResultT], *args: Any) -> ResultT:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args))
        except GameGone:
            raise HTTPException(404, "This game is not there, or not any more.") from None
        except GameDamaged as error:
            raise HTTPException(409, f"This game cannot be shown: {error}.") from None

    def _list(self, wanted: GamesWanted) -> bytes:
        there = self._shelf.look()
        found = [game for game in there if _is_wanted(game, wanted)]
        answer = GamesAnswer(
            games=[_item(game) for game in found[: wanted.limit]],
            found=len(found),
            there=len(there),
            won=sum(_outcome(game) == "won" for game in found),
            damaged=sum(_outcome(game) == "damaged" for game in found),
            agreement=_agreement(found),
            choices=GamesChoices(
                iterations=sorted({game.iteration for game in there}, reverse=True),
                parts=sorted({game.part for game in there}),
                rounds=sorted({game.round for game in there}),
            ),
        )
        return answer.model_dump_json().encode()

    def _game(self, game_id: str) -> bytes:
        served, game = self._shelf.read(game_id)
        steps = [StepItem(step=step, agrees=step.agrees) for step in game.steps]
        return GameAnswer(game=_item(served), stamp=served.stamp, steps=steps).model_dump_json().encode()


def _is_wanted(game: ServedGame, wanted: GamesWanted) -> bool:
    asked = (wanted.iteration, wanted.part, wanted.round, wanted.outcome)
    has = (game.iteration, game.part, game.round, _outcome(game))
    return all(one is None or one == its for one, its in zip(asked, has, strict=True))


def _outcome(game: ServedGame) -> Any:
    if game.result is None:
        return "damaged"
    return "won" if game.result.success else "lost"


def _agreement(games: Sequence[ServedGame]) -> float | None:
    results = [game.result for game in games if game.result is not None]
    labelled = sum(result.labelled for result in results)
    return sum(result.agreed for result in results) / labelled if labelled else None


def _item(game: ServedGame) -> GameItem:
    return GameItem(
        id=game.id,
        iteration=game.iteration,
        part=game.part,
        phase=game.phase,
        round=game.round,
        game=game.game,
        outcome=_outcome(game),
        problem=game.problem,
        result=game.result,
        agreement=None if game.result is None else game.result.agreement,
    )
