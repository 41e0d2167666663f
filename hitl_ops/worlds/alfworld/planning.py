"""One run of ALFWorld's planner in a process of its own, which is killed when it takes too long or too much.

Large rooms have cost the planner over a minute and a gigabyte, and it cannot be interrupted where it runs.
Started by ``find_plan``; reads a request as JSON, writes a plan as JSON.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.alfworld.engine import EngineTurn, Fact, GameFile, read_game_file
from hitl_ops.worlds.alfworld.fast_engine import FastEngine
from hitl_ops.worlds.alfworld.translation import run_translator

_USER_ERROR = 2  # as the command line has it
_CHANGING = frozenset({"holds", "inreceptacle", "ishot", "iscool", "isclean", "issliced", "istoggled"})


class PlanRequest(BaseModel):
    """What to plan.

    Attributes:
        folder: the game's folder.
        translations: where translated games are kept.
        executed: the commands since the beginning, as the engine words them.
        memory_mb: what the process may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    translations: Path
    executed: tuple[str, ...]
    memory_mb: int


class PlanStep(BaseModel):
    """One command of a plan and the state it is meant for.

    Attributes:
        command: as the engine words it.
        things: where things are and what was done to them, see ``state_of_things``.
        place: the receptacle stood at; empty in the middle of the room.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    things: frozenset[str]
    place: str


class Plan(BaseModel):
    """Commands that win; empty where the planner found none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[PlanStep, ...]


def state_of_things(facts: list[Fact]) -> frozenset[str]:
    """What matters to a plan beside doors and where the agent stands."""
    return frozenset(f"{predicate} {', '.join(names)}" for predicate, names in facts if predicate in _CHANGING)


def place_of_agent(facts: list[Fact]) -> str:
    """The receptacle the agent stands at; empty in the middle of the room."""
    standing = {names[1] for predicate, names in facts if predicate == "atlocation"}
    here = [names[0] for predicate, names in facts if predicate == "receptacleatlocation" and names[1] in standing]
    return min(here, default="")


def find_plan(request: PlanRequest, seconds: float) -> Plan | None:
    """Plan in a child process.

    Args:
        request: the game and the state.
        seconds: after which the child is killed.

    Returns:
        The plan; None where the planner gave up, took too long or too much memory.

    Raises:
        UserError: the child could not begin: the extra or the game is missing.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hitl_ops.worlds.alfworld.planning"],
            input=request.model_dump_json().encode("utf-8"),
            capture_output=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == _USER_ERROR:
        raise UserError("the planner cannot begin", done.stderr.decode("utf-8", "replace").strip().splitlines()[-1])
    try:
        plan = Plan.model_validate_json(done.stdout)
    except ValidationError:  # it ran out of memory and wrote nothing, or not all
        return None
    return plan if plan.steps else None


class _PlanningEngine(FastEngine):
    """The engine with the planner loaded beside."""

    def begin(self, game: GameFile) -> EngineTurn:
        turn = super().begin(game)
        _, sas = run_translator(game, optimize=True)
        self._library.load_sas_replan(sas.encode("utf-8"))
        return turn

    def plan(self) -> list[str]:
        """Commands from here on; none where the planner found none."""
        if not self._library.replan(False):
            return []
        found = (self._planner.Operator * self._library.get_last_plan_length())()
        self._library.get_last_plan(found)
        return [self._word(self._playing, one._name).command for one in found]


def _plan(engine: _PlanningEngine, executed: tuple[str, ...]) -> Plan:
    for command in executed:
        engine.step(command)
    steps = []
    for command in engine.plan():
        facts = engine.facts()
        steps.append(PlanStep(command=command, things=state_of_things(facts), place=place_of_agent(facts)))
        engine.step(command)
    return Plan(steps=tuple(steps))


def _main() -> int:
    request = PlanRequest.model_validate_json(sys.stdin.buffer.read())
    # The planner prints where our answer goes.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    try:
        engine = _PlanningEngine(request.translations)
        engine.begin(read_game_file(request.folder))
    except UserError as error:
        print(error, file=sys.stderr)
        return _USER_ERROR
    # From here on it is the search that takes memory, and whatever fails is its failure.
    limit = request.memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    plan = _plan(engine, request.executed)
    with os.fdopen(answer_to, "wb") as out:
        out.write(plan.model_dump_json().encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
