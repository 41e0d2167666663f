"""ALFWorld's games as ``TextGame``: official ones where the user has them, generated ones everywhere else.

Scores on generated games are not comparable with the papers': every game says its origin.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.text_game import FAMILIES, SPLITS, TextGame, TextSplit
from hitl_ops.worlds.alfworld.config import GAMES_FOLDER, AlfworldConfig
from hitl_ops.worlds.alfworld.engine import GAME_FILE, TASK_FILE, read_game_file, task_sentence
from hitl_ops.worlds.alfworld.game_generator import GENERATED, publish_game
from hitl_ops.worlds.text_game_lists import MOST_GAMES, check_asked

Origin = Literal["official", "generated"]
SPLIT_FOLDERS: dict[TextSplit, str] = {"train": "train", "val": "valid_seen", "test": "valid_unseen"}
"""The official names of our splits; the papers' 134 games are the unseen ones."""
GENERATED_NOTE = "Generated games: scores on them are not comparable with those of the papers."


class AlfworldSetup(BaseModel):
    """What the world needs to begin a game.

    Attributes:
        folder: the game's folder, relative to the games' root.
        origin: whether the game is official or generated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    origin: Origin = "official"

    @classmethod
    def of(cls, game: TextGame) -> AlfworldSetup:
        """The setup of a game.

        Raises:
            UserError: it is another world's game, or its setup is broken.
        """
        if game.world != "alfworld":
            raise UserError(f"game '{game.game_id}' is one of world '{game.world}'", "play it there")
        try:
            return cls.model_validate(game.setup)
        except ValidationError:
            raise UserError(f"game '{game.game_id}' has a broken setup", "it needs a 'folder'") from None

    def inside(self, root: Path) -> Path:
        """The game's folder under a root; never one outside it.

        Raises:
            UserError: the folder is absolute, leads outside or is not there.
        """
        relative = PurePosixPath(self.folder)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise UserError(f"game folder '{self.folder}' is not under the games' root", "name it relative to the root")
        folder = root / relative
        if not folder.is_dir():
            raise UserError(f"there is no game '{self.folder}' under '{root}'", "check the world's setting root")
        if not folder.resolve().is_relative_to(root.resolve()):
            raise UserError(f"game folder '{self.folder}' leads outside the games' root", "put the game itself there")
        return folder


def alfworld_games(split: TextSplit, count: int, seed: int, config: AlfworldConfig) -> list[TextGame]:
    """Games of a split: official ones where the root has them, else generated ones; always the same.

    Args:
        split: "train", "val" (``valid_seen``) or "test" (``valid_unseen``).
        count: how many.
        seed: chooses among lists of games; official games come in the papers' order for seed 0.
        config: the root and the families.

    Raises:
        UserError: there are fewer official games, a number is out of range, or generating needs the extra.
    """
    check_asked(count, seed)
    if has_official_games(config.games_root, split):
        return official_games(split, count, seed, config)
    return generated_games(split, count, seed, config)


def has_official_games(root: Path, split: TextSplit) -> bool:
    """Whether a root has games of a split that were not generated."""
    return next(_official_folders(root, split), None) is not None


def _official_folders(root: Path, split: TextSplit) -> Iterator[Path]:
    """What ALFWorld's own loader would look at, less what we generated."""
    base = root / GAMES_FOLDER / SPLIT_FOLDERS[split]
    for file in base.glob(f"*/trial_*/{GAME_FILE}"):
        folder = file.parent
        skipped = "movable" in str(folder) or "Sliced" in str(folder) or TEMPORARY_MARK in folder.name
        if not skipped and not folder.name.startswith(GENERATED) and (folder / TASK_FILE).is_file():
            yield folder


def official_games(split: TextSplit, count: int, seed: int, config: AlfworldConfig) -> list[TextGame]:
    """Official games of a split: in the order of their folders for seed 0, drawn without repetition for others.

    Raises:
        UserError: there are not as many of the families asked for.
    """
    root = config.games_root
    folders = [one for one in sorted(_official_folders(root, split)) if _family(one) in config.families]
    if seed:
        random.Random(seed).shuffle(folders)
    games: list[TextGame] = []
    for folder in folders:
        if len(games) == count:
            break
        file = read_game_file(folder)
        if file.solvable:  # ALFWorld's own loader asks the same
            games.append(_text_game(root, folder, split, task_sentence(file), "official"))
    if len(games) < count:
        raise UserError(f"'{root}' has {len(games)} official games for '{split}', not {count}", "ask for fewer")
    return games


def generated_games(split: TextSplit, count: int, seed: int, config: AlfworldConfig) -> list[TextGame]:
    """Generated games of a split, families taking turns; written under the root where they are not there yet.

    Splits share no number, hence no room. The first of a longer list are those of a shorter.

    Raises:
        UserError: the extra is not installed, or the root cannot be written.
    """
    from hitl_ops.worlds.alfworld.fast_engine import FastEngine

    root = config.games_root
    engine = FastEngine(config.translations_folder)
    games = []
    try:
        for index in range(count):
            number = (seed * MOST_GAMES + index) * len(SPLITS) + SPLITS.index(split)
            family = config.families[index % len(config.families)]
            folder = publish_game(root / GAMES_FOLDER / SPLIT_FOLDERS[split], family, number, engine)
            games.append(_text_game(root, folder, split, task_sentence(read_game_file(folder)), "generated"))
    finally:
        engine.close()
    return games


def _family(folder: Path) -> str:
    return folder.parent.name.partition("-")[0]


def _text_game(root: Path, folder: Path, split: TextSplit, task: str, origin: Origin) -> TextGame:
    family = _family(folder)
    assert family in FAMILIES
    number = folder.parent.name.rpartition("-")[2]
    name = re.sub(r"[^a-z0-9_-]", "_", f"{folder.parent.name}-{folder.name}".lower())
    return TextGame(
        game_id=name,
        world="alfworld",
        family=family,
        split=split,
        seed=int(number) if number.isdigit() else 0,
        task=task,
        setup=AlfworldSetup(folder=folder.relative_to(root).as_posix(), origin=origin).model_dump(),
    )
