"""Lists of text games: made for a program's iterations, kept as files with a game a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_text
from hitl_ops.contracts.text_game import TextGame, TextSplit
from hitl_ops.worlds.alfworld.config import AlfworldConfig
from hitl_ops.worlds.household_text.config import HouseholdTextConfig

SPLITS: tuple[TextSplit, ...] = ("train", "val", "test")
_ITERATIONS_APART = 1000
"""How many iterations seeds are kept apart for."""


class TextGamesConfig(StrictConfig):
    """How many games an agent learns from and is examined on."""

    train: int = Field(default=134, ge=1, description="games of an iteration's rounds; each iteration has its own")
    val: int = Field(default=30, ge=1, description="games by which the gate decides; the same for all iterations")
    test: int = Field(default=60, ge=1, description="games whose figures are told; nothing is chosen by them")
    seed: int = Field(default=0, ge=0, description="another one makes other games")

    def count(self, split: TextSplit) -> int:
        """Games of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


def make_text_games(
    world: HouseholdTextConfig | AlfworldConfig, split: TextSplit, config: TextGamesConfig, iteration: int = 0
) -> list[TextGame]:
    """Games of a split, always the same ones; those to learn from are new in every iteration.

    Args:
        world: which world, and what its games are like.
        split: which split.
        config: how many.
        iteration: for whose rounds games to learn from are made.

    Raises:
        UserError: there are not as many games, or no solvable ones were found.
    """
    count, turn = config.count(split), iteration if split == "train" else 0
    seed = config.seed * _ITERATIONS_APART + turn
    if isinstance(world, HouseholdTextConfig):
        from hitl_ops.worlds.household_text.games import generate_games

        return generate_games(split, count, seed, world)
    from hitl_ops.worlds.alfworld.games import alfworld_games, has_official_games

    if has_official_games(world.games_root, split):
        # Official games are dealt out of one shuffled list, so that no two iterations share one.
        return alfworld_games(split, count * (turn + 1), config.seed, world)[count * turn :]
    return alfworld_games(split, count, seed, world)


def write_text_games(games: Iterable[TextGame], file: Path) -> Path:
    """Publish games, one a line.

    Raises:
        CannotWrite: the place cannot be written.
    """
    publish_text(file, "".join(game.model_dump_json() + "\n" for game in games))
    return file


def read_text_games(file: Path) -> list[TextGame]:
    """The games of a file, in its order.

    Raises:
        UserError: it is missing or damaged, has no game, or one twice.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"there are no games in '{file}'", "make some, or name another file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"games '{file}' cannot be read ({str(error).splitlines()[0]})", "make them again") from None
    games = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            games.append(TextGame.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "line"
            raise UserError(f"games '{file}', line {number}: {place}: {first['msg']}", "make them again") from None
    if not games:
        raise UserError(f"there are no games in '{file}'", "make some, or name another file")
    if len({game.game_id for game in games}) != len(games):
        raise UserError(f"games '{file}' name a game twice", "make them again")
    return games


def games_hash(games: Sequence[TextGame]) -> str:
    """Hash over games, whatever their order: equal hashes, equal games."""
    bodies = sorted(json.dumps(game.model_dump(mode="json"), sort_keys=True) for game in games)
    return hashlib.sha256("\n".join(bodies).encode()).hexdigest()


def task_hash(game: TextGame) -> str:
    """Hash over what is to be done where, whatever the game is called: equal hashes, equal games for a player."""
    setup = {key: value for key, value in game.setup.items() if key != "episode"}
    episode = game.setup.get("episode")
    if isinstance(episode, dict):
        setup["episode"] = {key: value for key, value in episode.items() if key not in ("episode_id", "split", "seed")}
    told = [game.world, game.family, game.task, setup]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
