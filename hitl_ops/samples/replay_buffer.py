"""Bounded replay buffers over finished games on disk: what an agent imitates, and what it should prefer.

A buffer holds prompts and answers; pictures stay in the games' folders until a row is drawn. What is drawn follows
from (seed, step) and the buffer's content alone, so a training that was cut off draws the same again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.sample import END_OF_ACTION
from hitl_ops.records.round_games import RoundGame, read_pictures, read_round_game
from hitl_ops.rollouts.text_history import after_thought, completion, one_line, thought_completion

CORRECTIONS = "corrections"

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ReplayRow:
    """What is learned from at one step of a game.

    Attributes:
        row_id: stable id, phase/round/game/step; with ``/thought`` for a step's thought.
        picture: uint8 [size, size, 3].
        prompt: as the agent reads it.
        task: the game's goal.
        answers: as what completes the prompt: the one to imitate, or the better one and the worse one.
    """

    row_id: str
    picture: Picture
    prompt: str
    task: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GameRow:
    """A row whose picture is still on disk.

    Attributes:
        row_id: stable id, see :class:`ReplayRow`.
        prompt: as the agent reads it.
        task: the game's goal.
        answers: as what completes the prompt.
        folder: the game's; None where there is no game, and the picture is blank.
        step: whose picture it is.
    """

    row_id: str
    prompt: str
    task: str
    answers: tuple[str, ...]
    folder: Path | None
    step: int


def imitated_rows(game: RoundGame) -> list[GameRow]:
    """What is to be imitated of a game: at every labelled step the expert's thought, and its command after it."""
    rows = []
    for step in game.steps:
        if step.expert_action is None:
            continue
        row_id, prompt = game.step_id(step.step), step.prompt
        if step.expert_thought:
            thought = (thought_completion(step.expert_thought),)
            rows.append(GameRow(f"{row_id}/thought", prompt, game.result.task, thought, game.folder, step.step))
            prompt = after_thought(prompt, step.expert_thought)
        command = (completion(step.expert_action),)
        rows.append(GameRow(row_id, prompt, game.result.task, command, game.folder, step.step))
    return rows


def preferred_rows(game: RoundGame, *, agreements: bool = False) -> list[GameRow]:
    """Pairs of a game: at labelled steps the expert's thought and command, where the agent's were others.

    Args:
        game: a finished one.
        agreements: whether answers that both gave are rows as well, with that one answer.
    """
    rows = []
    for step in game.steps:
        if step.expert_action is None:
            continue
        row_id, prompt = game.step_id(step.step), step.prompt
        judged = []
        if step.expert_thought and step.agent_thought:
            thoughts = (thought_completion(step.expert_thought), thought_completion(step.agent_thought))
            judged.append((f"{row_id}/thought", prompt, thoughts))
        if step.agent_thought:  # both actions are judged after what the agent really thought
            prompt = after_thought(prompt, step.agent_thought)
        judged.append((row_id, prompt, (completion(step.expert_action), completion(step.agent_action))))
        for name, read, (better, own) in judged:
            if not own.strip():
                continue  # an agent that said nothing teaches nothing: there is no answer to prefer another one to
            answers = (better, own) if better != own else (better,)
            if len(answers) == 2 or agreements:
                rows.append(GameRow(name, read, game.result.task, answers, game.folder, step.step))
    return rows


@dataclass(eq=False)
class ReplayBuffer(ABC):
    """Rows by game, oldest game first.

    Args:
        capacity: rows kept; beyond it the oldest games go out, each whole. The newest game always stays.
        picture_size: pixels a side.
    """

    capacity: int
    picture_size: int
    _games: dict[str, list[GameRow]] = field(default_factory=dict, repr=False)
    _known: set[str] = field(default_factory=set, repr=False)
    _flat: list[GameRow] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise UserError(f"a replay buffer of {self.capacity} steps holds nothing", "set capacity to 1 or more")

    def __len__(self) -> int:
        """Rows held."""
        return sum(len(entries) for entries in self._games.values())

    @property
    def row_ids(self) -> list[str]:
        """Ids of the rows held, oldest game first."""
        return [entry.row_id for entry in self._rows()]

    def add_game(self, game: RoundGame | Path, source: str = "") -> int:
        """Take in a finished game, as the newest; one that was taken in before changes nothing, even if it has left.

        Args:
            game: it, or its folder.
            source: put before the ids of its rows, for games of another run.

        Returns:
            Rows added.

        Raises:
            UserError: the game cannot be read.
        """
        read = read_round_game(game) if isinstance(game, Path) else game
        name = f"{source}/{read.name}" if source else read.name
        head = f"{source}/" if source else ""
        return self._add(name, [replace(entry, row_id=head + entry.row_id) for entry in self._entries(read)])

    @abstractmethod
    def _entries(self, game: RoundGame) -> list[GameRow]:
        """A game's rows."""

    def _add(self, name: str, entries: list[GameRow]) -> int:
        fresh = [entry for entry in entries if entry.row_id not in self._known]
        self._known.update(entry.row_id for entry in fresh)
        if fresh:
            self._games[name] = [*self._games.get(name, []), *fresh]
            self._flat = None
        while len(self) > self.capacity and len(self._games) > 1:
            del self._games[next(iter(self._games))]
        return len(fresh)

    def _rows(self) -> list[GameRow]:
        if self._flat is None:
            self._flat = [entry for entries in self._games.values() for entry in entries]
        return self._flat

    def sample(self, step: int, count: int, seed: int, *, draw: Literal["rows", "games"] = "rows") -> list[ReplayRow]:
        """The rows of a gradient step, none twice.

        Step after step goes through a permutation of all rows in equal parts, then through another one (an epoch each),
        so that as long as the buffer stays the same no row comes again before all have come.

        Args:
            step: gradient steps done before this one.
            count: the most rows.
            seed: another seed gives another order.
            draw: what is permuted: rows, or games, whose rows then stay together but where a part ends.

        Raises:
            UserError: the buffer is empty, or a picture cannot be read or has another size.
        """
        rows = self._rows()
        if not rows:
            raise UserError("the replay buffer is empty", "play games in which the expert answers")
        parts = -(-len(rows) // count)
        epoch, part = divmod(step, parts)
        chance = np.random.default_rng([seed, epoch, len(rows)])
        order = self._game_by_game(chance) if draw == "games" else chance.permutation(len(rows))
        drawn = [rows[int(index)] for index in np.array_split(order, parts)[part]]
        return [
            ReplayRow(row.row_id, picture, row.prompt, row.task, row.answers)
            for row, picture in zip(drawn, self._pictures(drawn), strict=True)
        ]

    def _game_by_game(self, chance: np.random.Generator) -> NDArray[np.int64]:
        """Places of all rows, games by chance, each game's rows together."""
        ends = np.cumsum([len(entries) for entries in self._games.values()])
        games = np.split(np.arange(ends[-1]), ends[:-1])
        return np.concatenate([games[game] for game in chance.permutation(len(games))])

    def _pictures(self, rows: Sequence[GameRow]) -> list[Picture]:
        """The rows' pictures; each game's file is opened once."""
        found = [blank_picture(self.picture_size) for _ in rows]
        places: dict[Path, list[int]] = {}
        for place, row in enumerate(rows):
            if row.folder is not None:
                places.setdefault(row.folder, []).append(place)
        for folder, own in places.items():
            pictures = read_pictures(folder, [rows[place].step for place in own])
            if pictures.shape[1:] != (self.picture_size, self.picture_size, 3):
                raise UserError(
                    f"game '{folder}' has pictures of {pictures.shape[1]}×{pictures.shape[2]}, "
                    f"not of {self.picture_size}×{self.picture_size}",
                    "train with the picture size the games were played with",
                )
            for place, picture in zip(own, pictures, strict=True):
                found[place] = picture
        return found


class BCReplayBuffer(ReplayBuffer):
    """Labelled steps, to be imitated."""

    def _entries(self, game: RoundGame) -> list[GameRow]:
        return imitated_rows(game)


@dataclass(eq=False)
class DPOReplayBuffer(ReplayBuffer):
    """Labelled steps at which the agent chose otherwise than the expert: pairs of a better and a worse answer.

    Args:
        agreements: whether steps at which both chose the same are held as well, with that one answer.
    """

    agreements: bool = False

    def _entries(self, game: RoundGame) -> list[GameRow]:
        return preferred_rows(game, agreements=self.agreements)

    def add_pairs(self, rows: Sequence[ReplayRow], name: str = CORRECTIONS) -> int:
        """Take in pairs that come from elsewhere, as one game; their pictures are blank. Returns how many were new."""
        entries = [GameRow(row.row_id, row.prompt, row.task, row.answers, None, 0) for row in rows]
        return self._add(name, entries)


def pairs_from_corrections(pairs: Iterable[PreferencePair], picture_size: int) -> list[ReplayRow]:
    """Annotators' corrections of a language planner as preference pairs; they have no picture, so it is blank.

    Args:
        pairs: what was corrected, of :func:`hitl_ops.samples.preference_pairs.read_preference_pairs`.
        picture_size: pixels a side of the blank picture.

    Returns:
        A row for each pair whose answers still differ once their end mark is taken off; each id once.
    """
    rows: dict[str, ReplayRow] = {}
    for pair in pairs:
        winner, loser = (completion(text.replace(END_OF_ACTION, " ")) for text in (pair.chosen, pair.rejected))
        if one_line(winner) and one_line(loser) and winner != loser:
            row_id = f"{CORRECTIONS}/{pair.pair_id}"
            row = ReplayRow(row_id, blank_picture(picture_size), pair.prompt, pair.task_type, (winner, loser))
            rows.setdefault(row_id, row)
    return list(rows.values())


def blank_picture(size: int) -> Picture:
    """A black picture, uint8 [size, size, 3], where nobody saw anything."""
    return np.zeros((size, size, 3), dtype=np.uint8)
