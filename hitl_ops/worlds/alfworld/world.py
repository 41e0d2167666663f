"""ALFWorld behind the interface of text worlds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.config import StrictConfig, as_config
from hitl_ops.contracts.text_game import NOTHING_HAPPENS, TextGame, TextTurn
from hitl_ops.worlds.alfworld.config import AlfworldConfig
from hitl_ops.worlds.alfworld.engine import AlfredEngine, EngineTurn, Fact, read_game_file
from hitl_ops.worlds.alfworld.games import AlfworldSetup
from hitl_ops.worlds.alfworld.schematic import draw_schematic
from hitl_ops.worlds.text_commands import in_dialect, parse_command, render_command

if TYPE_CHECKING:
    from hitl_ops.worlds.alfworld.thor_adapter import ThorPictures

_MOVED = re.compile(r"You move the (.+) to the (.+)\.")
_MOVE_HELP = re.compile(r"  move \(object\) to \(receptacle\):  ")


class AlfworldWorld:
    """Games of the real engine; implements ``contracts.text_game.TextWorld``.

    Pictures are our own drawings of the game's facts unless an AI2-THOR build is configured; see ``picture_note``.

    Args:
        config: root, engine, step limit, dialect and pictures.

    Raises:
        UserError: the extra is not installed, or AI2-THOR is asked for and not there.
    """

    name = "alfworld"

    def __init__(self, config: AlfworldConfig) -> None:
        self.config = config
        self.max_steps = config.max_steps
        self._thor: ThorPictures | None = None
        self._ids: dict[str, str] = {}
        if config.pictures == "thor":
            from hitl_ops.worlds.alfworld.thor_adapter import ThorPictures

            self._thor = ThorPictures(Path(config.thor_executable))
        self._engine = _make_engine(config)
        self._engine_turn: EngineTurn | None = None
        self._turn: TextTurn | None = None
        self.folder: Path | None = None
        """The folder of the game under way."""

    def begin(self, game: TextGame) -> TextTurn:
        """See ``TextWorld.begin``.

        Raises:
            UserError: the game is another world's, is not there, or cannot be read.
        """
        folder = AlfworldSetup.of(game).inside(self.config.games_root)
        self._turn = self._engine_turn = self.folder = None
        self._engine_turn = self._engine.begin(read_game_file(folder))
        self.folder = folder
        if self._thor is not None:
            self._ids = {name: thing for thing, name in self._engine.names().items()}
            self._thor.begin(folder, self._ids)
        return self._answer(0)

    def step(self, command: str) -> TextTurn:
        """See ``TextWorld.step``.

        Raises:
            RuntimeError: no game was begun, or it is over.
        """
        if self._turn is None or self._turn.over:
            raise RuntimeError("no game is under way; begin one")
        parsed = parse_command(command)
        # What is no command still reaches the engine, which has an answer to everything.
        self._engine_turn = self._engine.step("" if parsed is None else render_command(parsed, "alfworld"))
        if self._thor is not None and parsed is not None and self._engine_turn.feedback != NOTHING_HAPPENS:
            standing = next(names[1] for predicate, names in self.facts() if predicate == "atlocation")
            self._thor.follow(parsed, self._ids[standing])
        return self._answer(self._turn.steps + 1)

    def _answer(self, steps: int) -> TextTurn:
        said = self.engine_turn
        papers = self.config.dialect == "papers"
        commands = tuple(sorted(in_dialect(one, "papers") for one in said.commands)) if papers else said.commands
        text = _as_papers(said.feedback) if papers else said.feedback
        self._turn = TextTurn(text, commands, said.won, said.won or steps >= self.max_steps, steps)
        return self._turn

    @property
    def engine_turn(self) -> EngineTurn:
        """The last answer in the engine's own words, for experts that were written for them.

        Raises:
            RuntimeError: no game was begun.
        """
        if self._engine_turn is None:
            raise RuntimeError("no game was begun")
        return self._engine_turn

    def facts(self) -> list[Fact]:
        """The truth now, for tests and for experts that know everything; no agent is shown it.

        Raises:
            RuntimeError: no game was begun.
        """
        if self._engine_turn is None:
            raise RuntimeError("no game was begun")
        return self._engine.facts()

    @property
    def picture_note(self) -> str:
        """What must be said wherever a picture is shown."""
        return self.config.picture_note

    def picture(self, size: int) -> NDArray[np.uint8]:
        """See ``TextWorld.picture``.

        Raises:
            RuntimeError: no game was begun.
        """
        if self._thor is not None:
            return self._thor.picture(size)
        return draw_schematic(self.facts(), size)

    def close(self) -> None:
        """See ``TextWorld.close``."""
        self._turn = self._engine_turn = None
        self._engine.close()
        if self._thor is not None:
            self._thor.close()


def make_alfworld(config: StrictConfig | Mapping[str, Any] | None = None) -> AlfworldWorld:
    """The world of a configuration or of settings of one; what is not named is as ``AlfworldConfig`` has it.

    Raises:
        UserError: a setting is unknown or wrong, or the extra is not installed.
    """
    return AlfworldWorld(as_config(AlfworldConfig, config, source="settings of world 'alfworld'"))


def _make_engine(config: AlfworldConfig) -> AlfredEngine:
    if config.engine == "stock":
        from hitl_ops.worlds.alfworld.stock_engine import StockEngine

        return StockEngine()
    from hitl_ops.worlds.alfworld.fast_engine import FastEngine

    return FastEngine(config.translations_folder)


def _as_papers(text: str) -> str:
    """The engine's text as the papers' prompts have it: no welcome, no empty lines, "put" for "move"."""
    if text == NOTHING_HAPPENS:
        return text
    if text.startswith("-= Welcome"):
        return "\n".join(text.split("\n\n")[1:])
    text = _MOVED.sub(r"You put the \1 in/on the \2.", text)
    return _MOVE_HELP.sub("  put (object) in/on (receptacle):  ", text)
