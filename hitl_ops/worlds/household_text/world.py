"""The household behind the interface of text worlds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hitl_ops.contracts.text_game import NOTHING_HAPPENS, TextGame, TextTurn
from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.renderer import Backend, Renderer, make_renderer
from hitl_ops.worlds.household_text.play import HomePlay
from hitl_ops.worlds.household_text.setup import HouseholdSetup
from hitl_ops.worlds.household_text.solution import next_command
from hitl_ops.worlds.text_commands import TextCommand, parse_command


class HouseholdTextWorld:
    """One agent in a generated home, played by commands; implements ``contracts.text_game.TextWorld``.

    Pictures are drawn from the home's facts by the household's renderer, which belongs to the process and the
    thread that first asks for one.

    Args:
        max_steps: commands after which a game is over.
        renderer: what draws pictures.
    """

    name = "household"

    def __init__(self, max_steps: int = 50, renderer: Backend = "auto") -> None:
        self.max_steps = max_steps
        self._backend = renderer
        self._play: HomePlay | None = None
        self._turn: TextTurn | None = None
        self._commands: dict[str, TextCommand] = {}
        self._renderer: tuple[str, Renderer] | None = None

    def begin(self, game: TextGame) -> TextTurn:
        """See ``TextWorld.begin``.

        Raises:
            UserError: it is another world's game, its setup is broken, or its home is none of this version's.
        """
        self._play = HomePlay(HouseholdSetup.of(game))
        return self._answer(f"{self._play.opening()}\nYour task is to: {game.task}", 0)

    def step(self, command: str) -> TextTurn:
        """See ``TextWorld.step``.

        Raises:
            RuntimeError: no game was begun, or it is over.
        """
        if self._turn is None or self._turn.over:
            raise RuntimeError("no game is under way; begin one")
        parsed = parse_command(command)
        known = None if parsed is None else self._commands.get(str(parsed))
        text = NOTHING_HAPPENS if known is None else self._playing.perform(known)
        return self._answer(text, self._turn.steps + 1)

    def _answer(self, text: str, steps: int) -> TextTurn:
        self._commands = {str(command): command for command in self._playing.commands()}
        won = self._playing.won
        self._turn = TextTurn(text, tuple(sorted(self._commands)), won, won or steps >= self.max_steps, steps)
        return self._turn

    @property
    def _playing(self) -> HomePlay:
        if self._play is None:
            raise RuntimeError("no game was begun")
        return self._play

    @property
    def facts(self) -> Facts:
        """The truth now, for tests and for experts that know everything; no agent is shown it."""
        return self._playing.state.facts

    def solution_step(self) -> str | None:
        """What an expert that knows everything would do now; None once the game is won."""
        command = next_command(self._playing)
        return None if command is None else str(command)

    def picture(self, size: int) -> NDArray[np.uint8]:
        """See ``TextWorld.picture``: the agent's eyes rest on the place where it stands.

        Raises:
            RuntimeError: no game was begun, or another thread drew the first picture.
        """
        play = self._playing
        home = play.scene.description
        if self._renderer is None or self._renderer[0] != home.scene_id:
            self._drop_renderer()
            self._renderer = (home.scene_id, make_renderer(home, OBJECT_SHAPES, self._backend))
        return self._renderer[1].render(play.state.facts, play.camera(), size, size, depth=False).rgb

    def _drop_renderer(self) -> None:
        if self._renderer is not None:
            self._renderer[1].close()
            self._renderer = None

    def close(self) -> None:
        """See ``TextWorld.close``."""
        self._drop_renderer()
