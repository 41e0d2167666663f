"""Generated games for these tests: made once in a process, in a folder that goes with it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.text_game import TextGame
from hitl_ops.worlds.alfworld import AlfworldConfig
from hitl_ops.worlds.alfworld.games import generated_games


@functools.cache
def config() -> AlfworldConfig:
    root = tempfile.mkdtemp(prefix="alfworld-games-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return AlfworldConfig(root=root)


@functools.cache
def games(count: int = 6) -> Sequence[TextGame]:
    """The first games of the test split, families taking turns."""
    return tuple(generated_games("test", count, 0, config()))


def folder_of(game: TextGame) -> Path:
    return config().games_root / game.setup["folder"]
