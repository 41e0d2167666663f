"""Questions and answers of the games page; every text and number that comes from a page is bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hitl_ops.records.round_games import RoundGameResult, RoundPhase, RoundStep
from ui_collect.protocol import Message
from ui_collect.text_input import Token

PREFIX = "/api/games"
LISTED_AT_MOST = 1000

Outcome = Literal["won", "lost", "damaged"]
GameId = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{3,6}-([a-z][a-z0-9_]{0,40}-)?(bc|dpo)-[0-9]{2,6}-[0-9]{4,8}$")
]
"""``<iteration>-<part>-<phase>-<round>-<game>``; looked up among the games that were found, never made into a path."""
Part = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Stamp = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


# --- page → server --------------------------------------------------------------------------------------------


class EnterRequest(Message):
    """Body of ``POST enter``."""

    token: Token = Field(description="from the fragment of the link the server printed")


class GamesWanted(Message):
    """Query of ``GET list``: which games, and how many of them."""

    iteration: int | None = Field(default=None, ge=0, le=999_999)
    part: Part | None = None
    round: int | None = Field(default=None, ge=0, le=999_999)
    outcome: Outcome | None = None
    limit: int = Field(default=100, ge=1, le=LISTED_AT_MOST, description="games told, from the first")


# --- server → page --------------------------------------------------------------------------------------------


class MeAnswer(Message):
    """Answer of ``GET me``."""

    inside: bool


class GameItem(Message):
    """One game of the list.

    Attributes:
        id: what it goes by.
        part: of the iteration: imitation (bc), preference (dpo), or what else its folder is called.
        outcome: how it ended; damaged where it cannot be shown.
        problem: why it cannot be shown, one line.
        result: the whole of how it ended; None where it is damaged.
        agreement: share of labelled steps at which the agent chose as the expert.
    """

    id: str
    iteration: int
    part: str
    phase: RoundPhase
    round: int
    game: int
    outcome: Outcome
    problem: str = ""
    result: RoundGameResult | None = None
    agreement: float | None = None


class GamesChoices(Message):
    """What a list may be narrowed to: what there is."""

    iterations: list[int]
    parts: list[str]
    rounds: list[int]


class GamesAnswer(Message):
    """Answer of ``GET list``.

    Attributes:
        games: those wanted, the newest round first.
        found: how many there are of those wanted, told or not.
        there: how many there are at all.
        won: of those found.
        damaged: of those found.
        agreement: share of labelled steps, over all found, at which agent and expert chose the same.
        choices: what there is.
    """

    games: list[GameItem]
    found: int
    there: int
    won: int
    damaged: int
    agreement: float | None
    choices: GamesChoices


class StepItem(Message):
    """One step, and whether agent and expert agree (None without a label)."""

    step: RoundStep
    agrees: bool | None


class GameAnswer(Message):
    """Answer of ``GET games/{id}``; pictures are asked for with the stamp."""

    game: GameItem
    stamp: str
    steps: list[StepItem]
