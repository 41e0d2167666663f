"""What plays a game's file: the interface that ALFWorld's own engine and the fast one have in common."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import UserError

GAME_FILE = "game.tw-pddl"
TASK_FILE = "traj_data.json"
PROBLEM_FILE = "initial_state.pddl"

Fact = tuple[str, tuple[str, ...]]
"""A predicate in lower case with the names of what it is said of: ("inreceptacle", ("mug 1", "desk 1"))."""


class GameFile(BaseModel):
    """What a ``game.tw-pddl`` holds.

    Attributes:
        pddl_domain: the actions there are.
        grammar: how they and their outcomes are said; the task's sentence stands in it.
        pddl_problem: the room, and the goal.
        solvable: whether somebody won it; None where nobody tried.
        walkthrough: the commands that won it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    pddl_domain: str
    grammar: str
    pddl_problem: str
    solvable: bool | None = None
    walkthrough: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EngineTurn:
    """What an engine says after the beginning or a command.

    Attributes:
        feedback: the answer, as ALFWorld words it.
        commands: what can be done now, sorted, as ALFWorld words it ("move mug 1 to desk 1").
        won: whether the goal holds.
    """

    feedback: str
    commands: tuple[str, ...]
    won: bool


class AlfredEngine(Protocol):
    """Plays one game after another."""

    def begin(self, game: GameFile) -> EngineTurn:
        """Begin a game.

        Raises:
            UserError: the game's PDDL or grammar cannot be read.
        """
        ...

    def step(self, command: str) -> EngineTurn:
        """Carry out a command, exactly as ALFWorld words it; any other is answered "Nothing happens."."""
        ...

    def facts(self) -> list[Fact]:
        """All that is true now."""
        ...

    def names(self) -> dict[str, str]:
        """How everything in the problem is said, by its id in lower case."""
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


_TASK = re.compile(r'"Your task is to: (.*?)\.?"')


def task_sentence(game: GameFile) -> str:
    """The task as the game says it, with a full stop.

    Raises:
        UserError: the game's grammar has no such sentence.
    """
    found = _TASK.search(game.grammar)
    if found is None:
        raise UserError("a game's grammar says no task", "fetch or generate it again")
    return f"{found.group(1)}."


def read_game_file(folder: Path) -> GameFile:
    """The game of a folder.

    Raises:
        UserError: there is none, or it is broken.
    """
    file = folder / GAME_FILE
    try:
        return GameFile.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no game '{file}'", "check the games' root, or generate the games again") from None
    except (OSError, ValidationError) as error:
        reason = str(error) if isinstance(error, OSError) else "it is no ALFWorld game"
        raise UserError(f"game '{file}' cannot be read: {reason}", "fetch or generate it again") from None


def read_task_file(folder: Path) -> dict[str, Any]:
    """The task of a folder: ``task_type``, ``pddl_params`` and more, ALFRED's ``traj_data.json``.

    Raises:
        UserError: there is none, or it is broken.
    """
    file = folder / TASK_FILE
    try:
        task = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"task '{file}' cannot be read: {error}", "fetch or generate the game again") from None
    if not isinstance(task, dict) or not isinstance(task.get("pddl_params"), dict) or "task_type" not in task:
        raise UserError(f"task '{file}' is no ALFRED task", "fetch or generate the game again")
    return task
