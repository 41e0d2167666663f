"""ALFWorld's own engine, as it comes: what the fast one is compared with."""

from __future__ import annotations

import sys
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.alfworld.engine import EngineTurn, Fact, GameFile
from hitl_ops.worlds.alfworld.package import alfworld_module

_idle: list[Any] = []


class StockEngine:
    """TextWorld's PDDL environment under ALFWorld's demangler, the two that ``AlfredTWEnv`` plays.

    Raises:
        UserError: the extra is not installed.
    """

    def __init__(self) -> None:
        textworld = alfworld_module("textworld")
        pddl = alfworld_module("textworld.envs.pddl.pddl")
        upstream = alfworld_module("alfworld.agents.environment.alfred_tw_env")
        if _idle:
            self._pddl: Any = _idle.pop()
        else:
            self._pddl = pddl.PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True))
        self._environment: Any = upstream.AlfredDemangler(self._pddl, shuffle=False)

    def begin(self, game: GameFile) -> EngineTurn:
        """See ``AlfredEngine.begin``."""
        arguments = sys.argv
        try:
            self._environment.load(game.model_dump())
            state = self._environment.reset()
        except (Exception, SystemExit) as error:  # the translator exits where it does not understand
            raise UserError("the game's PDDL or grammar cannot be read", str(error)) from None
        finally:
            sys.argv = arguments  # the translator writes its own
        return _turn(state)

    def step(self, command: str) -> EngineTurn:
        """See ``AlfredEngine.step``."""
        return _turn(self._environment.step(command)[0])

    def facts(self) -> list[Fact]:
        """See ``AlfredEngine.facts``."""
        infos = self._pddl._entity_infos
        return [
            (fact.name, tuple(infos[argument.name].name.strip() for argument in fact.arguments))
            for fact in self._pddl._pddl_state.facts
        ]

    def names(self) -> dict[str, str]:
        """See ``AlfredEngine.names``."""
        return {thing: info.name.strip() for thing, info in self._pddl._entity_infos.items()}

    def close(self) -> None:
        """See ``AlfredEngine.close``."""
        if self._pddl is not None:
            _idle.append(self._pddl)  # its library must not be unloaded, see planner_library
            self._pddl = None


def _turn(state: Any) -> EngineTurn:
    return EngineTurn(state.feedback, tuple(state["admissible_commands"]), bool(state["won"]))
