"""Games translated into the form the engine steps (SAS+), kept on disk: it takes most of a game's loading time."""

from __future__ import annotations

import gzip
import hashlib
import sys
import threading
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.publish import publish_bytes
from hitl_ops.worlds.alfworld.engine import GameFile
from hitl_ops.worlds.alfworld.package import alfworld_module, engine_versions

_FORMAT = 1
# The translator writes to global options, to sys.argv and to sys.stdout.
_TRANSLATOR = threading.Lock()


class Translation(BaseModel):
    """A game in SAS+ and what the translator knows beside it.

    Attributes:
        sas: the problem, nothing pruned: every action that ever gets possible, not only those that help.
        types: type of every named thing.
        parameters: for every action its parameters' names and types, in order.
        facts: what is true at first, facts that never change included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sas: str
    types: dict[str, str]
    parameters: dict[str, tuple[tuple[str, str], ...]]
    facts: tuple[tuple[str, tuple[str, ...]], ...]


def translate(game: GameFile) -> Translation:
    """Translate a game with the planner's own translator; 0.2 to 0.6 s on one core.

    Raises:
        UserError: the game's PDDL cannot be read, or the extra is not installed.
    """
    task, sas = run_translator(game, optimize=False)
    atom = alfworld_module("fast_downward").translate.pddl.conditions.Atom
    facts = [(one.predicate, tuple(one.args)) for one in task.init if isinstance(one, atom) and one.predicate != "="]
    return Translation(
        sas=sas,
        types={one.name: one.type_name for one in task.objects},
        parameters={
            action.name: tuple((one.name.strip("?"), one.type_name) for one in action.parameters)
            for action in task.actions
        },
        facts=tuple(facts),
    )


def run_translator(game: GameFile, *, optimize: bool) -> tuple[Any, str]:
    """The planner's translator: its task and the SAS+ text.

    Args:
        game: what to translate.
        optimize: whether what does not help to reach the goal is left out, for planning.

    Raises:
        UserError: the game's PDDL cannot be read, or the extra is not installed.
    """
    translator = alfworld_module("fast_downward")
    with _TRANSLATOR:
        arguments = sys.argv
        try:
            task, sas = translator.pddl2sas(game.pddl_domain, game.pddl_problem, optimize=optimize)
        except (Exception, SystemExit) as error:  # it exits where it does not understand
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError("the game's PDDL cannot be translated", reason) from None
        finally:
            sys.argv = arguments
    return task, sas


class TranslationCache:
    """Translations kept under a folder, by the hash of what they depend on.

    Args:
        folder: where; made when the first is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = engine_versions()

    def get(self, game: GameFile) -> Translation:
        """The game's translation, read or made and kept.

        Raises:
            UserError: the game cannot be translated.
            CannotWrite: the folder cannot be written.
        """
        key = "\0".join((str(_FORMAT), self._versions, game.pddl_domain, game.pddl_problem))
        file = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json.gz"
        try:
            return Translation.model_validate_json(gzip.decompress(file.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, EOFError, ValidationError):
            pass  # damaged: made again below, and replaced
        made = translate(game)
        content = gzip.compress(made.model_dump_json().encode("utf-8"), compresslevel=3, mtime=0)
        try:
            publish_bytes(file, content)
        except CannotWrite as error:
            raise CannotWrite(error.what, "name another place by the alfworld world's setting translations") from None
        return made
