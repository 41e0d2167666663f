"""The programs that the command line knows."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Program(enum.StrEnum):
    """A loop of its own: its records, its training, its registry."""

    planner = "planner"
    station = "station"
    advantage = "advantage"
    preference = "preference"
    dagger = "dagger"


ProgramOption = Annotated[Program, typer.Option(help="Which loop is meant.")]


def check_program(verb: str, program: Program, *known: Program) -> None:
    """Refuse a program that a verb has nothing to do with.

    Raises:
        UserError: the program is none of ``known``.
    """
    from hitl_ops.contracts.errors import UserError

    if program not in known:
        raise UserError(
            f"`flywheel {verb}` does not know the {program} program",
            f"choose one of {', '.join(known)}; `flywheel demo --program {program}` runs all of it",
        )
