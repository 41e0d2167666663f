"""The games that are shown: found anew at every look, read when somebody opens one. Nothing is written."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store, iteration_key
from hitl_ops.records.round_games import (
    PICTURES_FILE,
    RESULT_FILE,
    STEPS_FILE,
    RoundGame,
    RoundGameResult,
    RoundPhase,
    list_round_games,
    read_pictures,
    read_result,
    read_round_game,
)

PROGRAM = "dagger"
GAMES = "games"
_BYTES_AT_MOST = {RESULT_FILE: 2**20, STEPS_FILE: 16 * 2**20, PICTURES_FILE: 2**30}
_PICTURE_AT_MOST = 2048
_ITERATION = re.compile(r"^\d{3,6}$")
_PART = re.compile(r"^[a-z][a-z0-9_]{0,40}$")
_NAME = re.compile(r"^(bc|dpo)-(\d{2,6})-(\d{4,8})$")


@dataclass(frozen=True)
class ServedGame:
    """A game as it was when it was last looked at.

    Attributes:
        id: ``<iteration>-<part>-<phase>-<round>-<game>``, without the part for games that lie in no folder of one.
        iteration: whose it is.
        own: the folder of its part of the iteration, e.g. ``bc_control``; "" where it lies in no such folder.
        phase: what the agent learned in.
        round: from 0.
        game: its number within the round.
        folder: where it lies.
        stamp: another one whenever another game stands in its place.
        result: how it ended; None where it is damaged.
        problem: what is the matter with a damaged one, one line that names no folder.
    """

    id: str
    iteration: int
    own: str
    phase: RoundPhase
    round: int
    game: int
    folder: Path
    stamp: str
    result: RoundGameResult | None
    problem: str = ""

    @property
    def part(self) -> str:
        """The part of the iteration it belongs to: its folder's, by default the phase."""
        return self.own or self.phase


class GameGone(LookupError):
    """There is no such game, or not any more."""


class GameDamaged(Exception):
    """A game cannot be shown; the text is one line for the page."""


class GameShelf:
    """Finds games and reads them. Calls block; from any thread.

    Args:
        store: where the program's iterations are kept.
    """

    def __init__(self, store: Store) -> None:
        self._base = store.root / PROGRAM
        self._store = store
        self._lock = threading.Lock()
        self._found: dict[str, ServedGame] = {}

    @property
    def place(self) -> str:
        """Where games are looked for, for the terminal."""
        return str(self._base)

    def look(self) -> list[ServedGame]:
        """All games there are now, the newest round first."""
        places = [
            (iteration, part, folder)
            for iteration in _iterations(self._base)
            for part, games in _parts(self._store.iteration(PROGRAM, iteration_key(iteration)).rollouts)
            for folder in _games(games)
        ]
        with self._lock:
            known = self._found
        found = [game for place in places if (game := _served(*place, known)) is not None]
        with self._lock:
            self._found = {game.id: game for game in found}
        found.sort(key=lambda game: game.game)
        found.sort(key=lambda game: (game.iteration, game.part, game.round), reverse=True)
        return found

    def at(self, game_id: str) -> ServedGame:
        """A game by its id, as it is now.

        Raises:
            GameGone: there is none.
        """
        with self._lock:
            known = self._found.get(game_id)
        if known is None:
            self.look()
            with self._lock:
                known = self._found.get(game_id)
        now = None if known is None else _served(known.iteration, known.own, known.folder, {known.id: known})
        if now is None:
            raise GameGone(game_id)
        return now

    def read(self, game_id: str) -> tuple[ServedGame, RoundGame]:
        """A game and its steps.

        Raises:
            GameGone: there is none.
            GameDamaged: it cannot be read.
        """
        served = self.at(game_id)
        if served.problem:
            raise GameDamaged(served.problem)
        try:
            game = read_round_game(served.folder)
        except UserError as error:
            self.at(game_id)  # it may have gone meanwhile, which is another matter
            problem = _told(served.folder, error)
            with self._lock:
                self._found[served.id] = replace(served, result=None, problem=problem)
            raise GameDamaged(problem) from None
        return served, game

    def picture(self, game_id: str, stamp: str, step: int) -> bytes:
        """What the agent saw at a step, as PNG.

        Raises:
            GameGone: there is no such game, or another stands in its place.
            GameDamaged: the picture cannot be read.
        """
        served = self.at(game_id)
        if served.stamp != stamp:
            raise GameGone(game_id)
        return _png(served.folder, step)


def _iterations(base: Path) -> Iterable[int]:
    try:
        return [int(path.name) for path in base.iterdir() if _ITERATION.match(path.name)]
    except OSError:
        return []


def _parts(rollouts: Path) -> list[tuple[str, Path]]:
    """Where games may lie: in a folder of a part's own, or in no part's."""
    try:
        parts = [(path.name, path / GAMES) for path in rollouts.iterdir() if _PART.match(path.name)]
    except OSError:
        return []
    return [("", rollouts / GAMES), *parts]


def _games(folder: Path) -> list[Path]:
    try:
        return [path for path in list_round_games(folder) if _NAME.match(path.name)]
    except OSError:
        return []  # it went while it was listed


def _served(iteration: int, own: str, folder: Path, known: dict[str, ServedGame]) -> ServedGame | None:
    """The game in a folder, read anew where its files are others than before; None where the folder is gone."""
    match = _NAME.match(folder.name)
    assert match is not None, "only such folders are listed"
    seen, problem = _seen(folder)
    if not seen and not folder.is_dir():
        return None
    game_id = "-".join([iteration_key(iteration), *([own] if own else []), folder.name])
    stamp = hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
    before = known.get(game_id)
    if before is not None and before.stamp == stamp:
        return before
    result = None
    if not problem:
        try:
            result = read_result(folder)
        except UserError as error:
            problem = _told(folder, error)
    phase: RoundPhase = "bc" if match[1] == "bc" else "dpo"
    numbers = int(match[2]), int(match[3])
    return ServedGame(game_id, iteration, own, phase, *numbers, folder, stamp, result, problem)


def _seen(folder: Path) -> tuple[list[tuple[str, int, int, int]], str]:
    """What the files of a game look like from outside, and what is wrong with that."""
    seen, problem = [], ""
    for name, most in _BYTES_AT_MOST.items():
        try:
            facts = (folder / name).stat()
        except OSError:
            problem = problem or f"{name} is missing"
            continue
        seen.append((name, facts.st_ino, facts.st_mtime_ns, facts.st_size))
        if not stat.S_ISREG(facts.st_mode):
            problem = problem or f"{name} is no file"
        elif facts.st_size > most:
            problem = problem or f"{name} is larger than {most >> 20} MiB"
    return seen, problem


def _png(folder: Path, step: int) -> bytes:
    from PIL import Image

    try:
        picture = read_pictures(folder, [step])[0]
    except UserError as error:
        raise GameDamaged(_told(folder, error)) from None
    except (ValueError, TypeError, IndexError):
        raise GameDamaged(f"{PICTURES_FILE} does not hold pictures") from None
    if picture.ndim != 3 or picture.shape[2] != 3 or not 0 < max(picture.shape[:2]) <= _PICTURE_AT_MOST:
        raise GameDamaged(f"{PICTURES_FILE} does not hold pictures")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _told(folder: Path, error: UserError) -> str:
    """An error's line without where things lie on this machine."""
    return error.what.replace(f"{folder}/", "").replace(str(folder), folder.name)
