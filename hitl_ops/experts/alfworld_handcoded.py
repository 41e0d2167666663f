"""ALFWorld's own hand-coded expert as a ``TextExpert``: partial information, heuristics, sometimes beaten.

Two things of it are set right where it is called. It looks for "put" in the last command to learn that its hand is
empty again, while the engine says "move" since 0.4, so that it never finds the second of two objects: it is told
"put". And it draws from Python's global random numbers: it draws from a sequence of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import NOTHING_HAPPENS, GameHistory, TextGame, TextTurn, TextWorld
from hitl_ops.worlds.alfworld.package import alfworld_module
from hitl_ops.worlds.alfworld.world import AlfworldWorld
from hitl_ops.worlds.text_commands import in_dialect, parse_command

_PATIENCE = 10_000
"""Calls after which upstream gives up by itself; the world's step limit ends a game long before."""


@dataclass(frozen=True, slots=True)
class _NamedFact:
    """A fact as upstream reads it."""

    name: str
    names: tuple[str, ...]


class HandCodedTextExpert:
    """Upstream's expert behind our protocol.

    Args:
        seed: of its random choices.

    Raises:
        UserError: the extra is not installed.
    """

    policy_id = "alfworld-handcoded"

    def __init__(self, seed: int = 0) -> None:
        upstream = alfworld_module("alfworld.agents.expert")
        self._make_agent: Any = upstream.HandCodedTWAgent
        self._gives_up: tuple[type[Exception], ...] = (
            upstream.HandCodedAgentTimeout,
            upstream.HandCodedAgentFailed,
            # Off its own path it looks into an empty hand, or for a receptacle that the room does not have.
            IndexError,
            KeyError,
        )
        self._seed = seed
        self._agent: Any = None
        self._world: AlfworldWorld | None = None
        self._random_state: Any = None
        self._answer: str | None = None

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """See ``TextExpert.start``; reads the task's parameters and, later, what the engine says and knows is held.

        Raises:
            UserError: the world is not alfworld.
        """
        if not isinstance(world, AlfworldWorld) or world.folder is None:
            raise UserError(f"ALFWorld's hand-coded expert cannot play the world '{world.name}'", "use 'searcher'")
        self._world = world
        self._random_state = random.Random(f"{self._seed}/{game.game_id}").getstate()
        self._agent = self._make_agent(max_steps=_PATIENCE)
        self._agent.reset(str(world.folder / "game.tw-pddl"))
        self._agent.observe(world.engine_turn.feedback)
        self._answer = in_dialect("look", world.config.dialect)  # upstream's first command, always

    def label(self, history: GameHistory | None, turn: TextTurn) -> str | None:
        """See ``TextExpert.label``; None once the game is over or where upstream gives up."""
        return None if turn.over or self._answer not in turn.admissible else self._answer

    def executed(self, command: str, turn: TextTurn) -> None:
        """See ``TextExpert.executed``; upstream keeps track while it chooses, so it chooses here, once a turn."""
        if self._world is None:
            raise RuntimeError("no game was started")
        if turn.over:
            return
        said = self._world.engine_turn
        state = {
            "feedback": said.feedback,
            "admissible_commands": list(said.commands),
            "facts": [_NamedFact(predicate, names) for predicate, names in self._world.facts()],
        }
        with self._own_random():
            try:
                chosen = self._agent.act(state, 0, False, _told(command))
            except self._gives_up:
                self._answer = None
                return
            if chosen == in_dialect(command, "alfworld") and said.feedback == NOTHING_HAPPENS:
                chosen = random.choice(said.commands)  # what upstream does where it sees that it repeats itself
        # As upstream's own environment: an impossible answer is replaced by a look round.
        self._answer = in_dialect(chosen if chosen in said.commands else "look", self._world.config.dialect)

    @contextlib.contextmanager
    def _own_random(self) -> Iterator[None]:
        """Let upstream draw from its own sequence, and give the global one back as it was."""
        before = random.getstate()
        random.setstate(self._random_state)
        try:
            yield
        finally:
            self._random_state = random.getstate()
            random.setstate(before)


def _told(command: str) -> str:
    """A command as upstream understands it: lower case, and "put" where it would not see that a hand got empty."""
    parsed = parse_command(command)
    return "look" if parsed is None else str(parsed)
