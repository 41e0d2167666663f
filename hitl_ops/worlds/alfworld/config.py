"""How the alfworld world is set up, and where its games lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.store import Store
from hitl_ops.contracts.text_game import FAMILIES, TextFamily
from hitl_ops.worlds.text_commands import Dialect

DATA_VARIABLE = "ALFWORLD_DATA"
GAMES_FOLDER = "json_2.1.1"
"""The folder that ``alfworld-download`` makes; generated games lie in one of the same name and shape."""
PICTURE_NOTE = "Pictures: Flywheel's schematic drawing of the game's facts, not AI2-THOR's."


class AlfworldConfig(StrictConfig):
    """Games of the real ALFWorld engine, official or generated."""

    root: str = Field(
        default="",
        description="the folder games lie under; empty: ALFWORLD_DATA if it has games, else <FLYWHEEL_HOME>/alfworld",
    )
    translations: str = Field(
        default="",
        description="where translated games are kept; empty: <root>/translations. For roots that are read-only",
    )
    families: tuple[TextFamily, ...] = Field(
        default=FAMILIES,
        min_length=1,
        description="task families; generated games take turns",
    )
    engine: Literal["fast", "stock"] = Field(
        default="fast", description="'fast', or 'stock': ALFWorld's own, some 50 times slower, for comparison"
    )
    max_steps: int = Field(default=50, ge=1, description="commands after which a game is over")
    dialect: Dialect = Field(
        default="papers", description="'papers': put X in/on Y; 'alfworld': move X to Y and the engine's own texts"
    )
    pictures: Literal["schematic", "thor"] = Field(
        default="schematic", description="our own drawing of the same facts, or AI2-THOR's from a build of one's own"
    )
    thor_executable: str = Field(default="", description="AI2-THOR's Unity build, for pictures=thor")

    @model_validator(mode="after")
    def _thor_has_a_build(self) -> AlfworldConfig:
        if self.pictures == "thor" and not self.thor_executable:
            raise ValueError("pictures=thor needs thor_executable, the path of an AI2-THOR build")
        return self

    @property
    def picture_note(self) -> str:
        """What must be said wherever a picture is shown, or figures of whoever saw some."""
        return PICTURE_NOTE if self.pictures == "schematic" else "Pictures: AI2-THOR's."

    @property
    def games_root(self) -> Path:
        """The folder games lie under.

        Raises:
            UserError: FLYWHEEL_HOME is no local path.
        """
        if self.root:
            return Path(self.root)
        official = os.environ.get(DATA_VARIABLE)
        if official and (Path(official) / GAMES_FOLDER).is_dir():
            return Path(official)
        return Store.from_environment().root / "alfworld"

    @property
    def translations_folder(self) -> Path:
        """Where translated games are kept."""
        return Path(self.translations) if self.translations else self.games_root / "translations"
