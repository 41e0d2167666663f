"""An expert for text games that knows everything: a planner of the world's own, asked from where the game stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import GameHistory, TextGame, TextTurn, TextWorld
from hitl_ops.worlds.household_text.world import HouseholdTextWorld


class TextPlanner(Protocol):
    """Finds commands that win a game; each text world has one of its own.

    Attributes:
        name: goes into the expert's policy id.
    """

    name: str

    def plan(self, game: TextGame, world: TextWorld, executed: Sequence[str]) -> Sequence[str] | None:
        """Commands from the state of now on, in the papers' dialect.

        Args:
            game: the game.
            world: playing it, in the state of now.
            executed: every command since the beginning, for planners that begin from there.

        Returns:
            At least the next command; the expert asks again when they are used up or somebody did something else.
            None where there is no plan, or none was found in time.
        """
        ...


class HouseholdPlanner:
    """The household's: one command at a time, from its facts."""

    name = "household"

    def plan(self, game: TextGame, world: TextWorld, executed: Sequence[str]) -> Sequence[str] | None:
        """See ``TextPlanner.plan``.

        Raises:
            UserError: the world is not the household.
        """
        if not isinstance(world, HouseholdTextWorld):
            raise UserError(f"the household's planner cannot plan for the world '{world.name}'", "give it its own")
        command = world.solution_step()
        return None if command is None else (command,)


class OracleTextExpert:
    """Knows everything; implements ``contracts.text_game.TextExpert``.

    Args:
        planner: the world's; by default the household's.
    """

    def __init__(self, planner: TextPlanner | None = None) -> None:
        self._planner: TextPlanner = planner or HouseholdPlanner()
        self.policy_id = f"text-oracle-{self._planner.name}"
        self._begun: tuple[TextGame, TextWorld] | None = None
        self._executed: list[str] = []
        self._ahead: list[str] | None = None

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """See ``TextExpert.start``; ``world`` is read whenever a plan is made."""
        self._begun = (game, world)
        self._executed = []
        self._ahead = None

    def label(self, history: GameHistory | None, turn: TextTurn) -> str | None:
        """See ``TextExpert.label``; None once the game is over or where the planner has no plan.

        Raises:
            RuntimeError: no game was started.
        """
        if self._begun is None:
            raise RuntimeError("no game was started")
        if turn.over:
            return None
        if self._ahead is None or (self._ahead and self._ahead[0] not in turn.admissible):
            self._ahead = list(self._planner.plan(*self._begun, tuple(self._executed)) or ())
        return self._ahead[0] if self._ahead and self._ahead[0] in turn.admissible else None

    def executed(self, command: str, turn: TextTurn) -> None:
        """See ``TextExpert.executed``: a plan is kept as long as it is followed."""
        self._executed.append(command)
        if self._ahead and command == self._ahead[0]:
            self._ahead = self._ahead[1:] or None
        else:
            self._ahead = None
