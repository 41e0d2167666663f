"""What is read from the installed package ``alfworld``: its domain, its grammar, its tables and its goals.

The package is an extra; nothing here is imported before somebody asks for this world. ``alfworld.info`` is never
imported: it makes a folder in the user's home and sets an environment variable.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
from collections.abc import Mapping
from types import ModuleType

from hitl_ops.contracts.errors import UserError


def alfworld_module(name: str) -> ModuleType:
    """A module of alfworld or of what it brings, "textworld.envs.pddl" for instance.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"the alfworld world needs ALFWorld (no module '{error.name or name}')",
            "pip install 'flywheel-hitl[alfworld]'",
        ) from None


def engine_versions() -> str:
    """What a game's translation depends on beside its text: the releases of TextWorld and of its planner."""
    alfworld_module("textworld")
    names = ("textworld", "fast-downward-textworld")
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in names)


def read_domain() -> str:
    """The PDDL domain that the package ships."""
    return _data("alfred.pddl")


def read_grammar() -> str:
    """The grammar that the package ships; its task reads "UNKNOWN GOAL"."""
    return _data("alfred.twl2")


def _data(name: str) -> str:
    alfworld_module("alfworld")
    return importlib.resources.files("alfworld").joinpath("data", name).read_text(encoding="utf-8")


def contents_table() -> Mapping[str, frozenset[str]]:
    """Which kinds of things a kind of receptacle may hold; receptacles that can be carried are left out."""
    constants = alfworld_module("alfworld.gen.constants")
    movable = set(constants.MOVABLE_RECEPTACLES)
    return {
        place: frozenset(things) for place, things in constants.VAL_RECEPTACLE_OBJECTS.items() if place not in movable
    }


def movable_receptacles() -> frozenset[str]:
    """Kinds of things that can hold things and be carried."""
    return frozenset(alfworld_module("alfworld.gen.constants").MOVABLE_RECEPTACLES)


def affordances() -> Mapping[str, frozenset[str]]:
    """Which kinds of things are ``Heatable``, ``Coolable``, ``Cleanable``, ``Toggleable`` and ``Sliceable``."""
    constants = alfworld_module("alfworld.gen.constants")
    return {affordance: frozenset(kinds) for affordance, kinds in constants.VAL_ACTION_OBJECTS.items()}


def openable_receptacles() -> frozenset[str]:
    """Kinds of receptacles with a door, lid or front."""
    return frozenset(alfworld_module("alfworld.gen.constants").OPENABLE_CLASS_LIST)


def goal_of(family: str) -> tuple[str, tuple[str, ...]]:
    """A family's goal as PDDL and its wordings, both with ``{obj}``, ``{recep}`` and ``{toggle}`` to fill in.

    The library writes ``#`` for ``-`` and closes the bracket of the problem that the goal stands in.
    """
    entry = alfworld_module("alfworld.gen.goal_library").gdict[family]
    return entry["pddl"].replace("#", "-").strip(), tuple(entry["templates"])
