"""The programs that the command line knows."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Program(enum.StrEnum):
    """A loop of its own: its records, its training, its registry."""

    planner = "planner"
    station = "station"


ProgramOption = Annotated[Program, typer.Option(help="Which loop is meant.")]
