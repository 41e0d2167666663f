"""Household text games: a game, what the world says in it, the world, and the expert that watches.

Commands and answers are worded as in ALFWorld (Shridhar et al. 2021, arXiv 2010.03768), commands in the dialect of
the papers' prompts ("put mug 1 in/on desk 1"; ALFWorld itself says "move mug 1 to desk 1" since 0.4). Nothing here
knows how a world or an expert works; ``worlds.text_worlds`` makes worlds, ``experts`` has experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

NOTHING_HAPPENS = "Nothing happens."
"""What a world answers to a command that it does not know or that cannot be carried out here and now."""

TextWorldName = Literal["household", "alfworld"]
TextSplit = Literal["train", "val", "test"]
SPLITS: tuple[TextSplit, ...] = get_args(TextSplit)
"""In this order they are in the seeds of generated games."""

TextFamily = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]
FAMILIES: tuple[TextFamily, ...] = get_args(TextFamily)
"""ALFWorld's six task families, in the order of its task types 1 to 6."""


class TextGame(BaseModel):
    """One task instance of a text world; with a world of the same name and step limit it decides everything.

    Attributes:
        game_id: unique, made of ``a-z``, ``0-9``, ``-`` and ``_``, so that it may name a folder.
        world: which world plays it.
        family: the task family, one of ``FAMILIES``.
        split: what the game may be used for.
        seed: what it was generated from.
        task: the goal in ALFWorld's words, "put a clean mug in coffee table."
        setup: what the world needs to begin it, plain JSON; no other reader looks into it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    game_id: str = Field(pattern=r"^[a-z0-9_-]+$", max_length=120)
    world: TextWorldName
    family: str
    split: TextSplit
    seed: int
    task: str
    setup: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextTurn:
    """What the world says after ``begin`` or after a command.

    Attributes:
        text: the answer; after ``begin`` the opening, which ends with "Your task is to: …".
        admissible: the commands that can be carried out now, sorted, in the papers' dialect; never empty.
        won: whether the task is done.
        over: whether the game has ended: it is won or the step limit is reached.
        steps: commands given so far, those to which nothing happened included.
    """

    text: str
    admissible: tuple[str, ...]
    won: bool
    over: bool
    steps: int


class TextWorld(Protocol):
    """A world that is played by commands; deterministic in the game and the commands.

    One object plays one game after another. Its step limit is its constructor's argument ``max_steps``.

    Attributes:
        name: the world's name.
    """

    name: str

    def begin(self, game: TextGame) -> TextTurn:
        """Begin a game; whatever was played before is dropped.

        Raises:
            UserError: the game is another world's or its setup cannot be played.
        """
        ...

    def step(self, command: str) -> TextTurn:
        """Carry out one command, of either dialect; anything else is answered ``NOTHING_HAPPENS``.

        Raises:
            RuntimeError: no game was begun, or it is over.
        """
        ...

    def picture(self, size: int) -> NDArray[np.uint8]:
        """What the agent sees now, uint8 [size, size, 3], rows from the top; drawn from the world's facts.

        Raises:
            RuntimeError: no game was begun.
        """
        ...

    def close(self) -> None:
        """Give back what the world holds; it may be called again and again."""
        ...


class GameHistory(Protocol):
    """What experts read of a game so far; ``rollouts.text_history.TextHistory`` is one."""

    @property
    def task(self) -> str:
        """The goal, as in ``TextGame.task``."""
        ...

    def expert_prompt(self, few_shot: str) -> str:
        """The game as a completion prompt: ``few_shot``, then the game so far, ending with a ``>`` to go on from."""
        ...


class TextExpert(Protocol):
    """Says at every turn what it would do, while somebody else may act.

    The commands that are really carried out are told by ``executed``, so an expert can be right from any state.

    Attributes:
        policy_id: who says so; goes into records.
    """

    policy_id: str

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """A game begins; ``turn`` is what ``world.begin(game)`` answered.

        Experts with partial information read only ``turn``; omniscient ones may read ``world``.
        """
        ...

    def label(self, history: GameHistory, turn: TextTurn) -> str | None:
        """The command the expert would give now, one of ``turn.admissible``; None where it has no answer.

        Asking does not change what the expert answers later.
        """
        ...

    def executed(self, command: str, turn: TextTurn) -> None:
        """Take in what was really done, by whomever, and what came of it."""
        ...
