"""ALFWorld's own planner for ``text_oracle.OracleTextExpert``: asked once, and again only where things were changed.

It knows everything. Agents wander more often than they change anything, so a plan is kept for as long as things are
as it expects them: from elsewhere it is taken up again by going back, and doors are opened where they are closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextGame, TextWorld
from hitl_ops.worlds.alfworld.planning import Plan, PlanRequest, find_plan, place_of_agent, state_of_things
from hitl_ops.worlds.alfworld.world import AlfworldWorld
from hitl_ops.worlds.text_commands import in_dialect


class AlfworldPlanner:
    """Plans with fast-downward in a child process; implements ``text_oracle.TextPlanner``.

    Args:
        seconds: after which a run is killed; two objects take it 6 to 9 s, large rooms over a minute.
        memory_mb: what a run may take.

    Attributes:
        runs: how often the planner was started.
    """

    name = "alfworld"

    def __init__(self, seconds: float = 120.0, memory_mb: int = 3072) -> None:
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._plan: tuple[str, Plan] | None = None
        self._hopeless: tuple[str, frozenset[str]] | None = None
        self.runs = 0

    def plan(self, game: TextGame, world: TextWorld, executed: Sequence[str]) -> Sequence[str] | None:
        """See ``TextPlanner.plan``; None where no plan was found within the limits.

        Raises:
            UserError: the world is not alfworld, or the extra is not installed.
        """
        if not isinstance(world, AlfworldWorld) or world.folder is None:
            raise UserError(f"ALFWorld's planner cannot plan for the world '{world.name}'", "give it its own")
        things = state_of_things(world.facts())
        if self._hopeless == (game.game_id, things):
            return None
        commands = self._kept(game, world)
        if commands is None:
            request = PlanRequest(
                folder=world.folder.resolve(),
                translations=world.config.translations_folder.resolve(),
                executed=tuple(in_dialect(command, "alfworld") for command in executed),
                memory_mb=self._memory_mb,
            )
            self.runs += 1
            found = find_plan(request, self._seconds)
            self._plan = None if found is None else (game.game_id, found)
            self._hopeless = (game.game_id, things) if found is None else None
            commands = self._kept(game, world)
        return None if commands is None else [in_dialect(command, world.config.dialect) for command in commands]

    def _kept(self, game: TextGame, world: AlfworldWorld) -> list[str] | None:
        """The rest of the kept plan from here on; None where it does not fit."""
        if self._plan is None or self._plan[0] != game.game_id:
            return None
        facts = world.facts()
        things, place = state_of_things(facts), place_of_agent(facts)
        fitting = [number for number, step in enumerate(self._plan[1].steps) if step.things == things]
        if not fitting:
            return None
        steps = self._plan[1].steps[fitting[0] :]
        # Of steps that fit, those at the place stood at come last: going there is behind us.
        for number in reversed(fitting):
            if place and self._plan[1].steps[number].place == place:
                steps = self._plan[1].steps[number:]
                break
        return _taken_up([step.command for step in steps], steps[0].place, world)


def _taken_up(commands: list[str], place: str, world: AlfworldWorld) -> list[str] | None:
    """A plan's rest, begun from where the agent really stands and from doors as they really are."""
    possible = world.engine_turn.commands
    while commands and commands[0] not in possible:
        head = commands[0]
        if head.startswith(("open ", "go to ")) and _is_done(head, world):
            commands = commands[1:]
        elif place and f"go to {place}" in possible and place != place_of_agent(world.facts()):
            return [f"go to {place}", *commands]
        elif f"open {place}" in possible:
            return [f"open {place}", *commands]
        else:
            return None
    return commands or None


def _is_done(command: str, world: AlfworldWorld) -> bool:
    """Whether what a command is for is so already."""
    facts = world.facts()
    if command.startswith("go to "):
        return place_of_agent(facts) == command.removeprefix("go to ")
    return ("opened", (command.removeprefix("open "),)) in facts
