"""Which scene homes are played in, and how a scene in a process of its own is started."""

from __future__ import annotations

import os
import sys
from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig, parse_config
from hitl_ops.contracts.errors import UserError

PYTHON_VARIABLE = "FLYWHEEL_HABITAT_PYTHON"
"""Environment variable that names habitat-sim's interpreter where ``habitat.python`` does not."""
MACHINE_VARIABLES = {
    "gpu": "FLYWHEEL_HABITAT_GPU",
    "backend": "FLYWHEEL_HABITAT_BACKEND",
    "scene_dataset": "FLYWHEEL_HABITAT_SCENE_DATASET",
}
"""Setting → environment variable that says it for replays, which know a record and no configuration."""


class HabitatConfig(StrictConfig):
    """A simulator in a process and an environment of its own."""

    python: str = Field(
        default="", description=f"interpreter of the environment that has habitat_sim; empty: as {PYTHON_VARIABLE} says"
    )
    backend: str = Field(
        default="habitat",
        pattern=r"^(habitat|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        description="what answers in that process: habitat, or module:Class; by default in this environment then",
    )
    gpu: int = Field(default=-1, ge=-1, description="graphics card it draws on; -1: none")
    scene_dataset: str = Field(
        default="", description="scene data set (*.scene_dataset_config.json) of episodes that are not in our homes"
    )
    start_within_s: float = Field(default=120.0, gt=0, description="seconds to start, and to open a scene")
    answer_within_s: float = Field(default=30.0, gt=0, description="seconds to answer; then it counts as lost")
    heartbeat_s: float = Field(
        default=15.0, gt=0, description="seconds between signs of life while nothing is asked; it ends after six missed"
    )
    scenes_kept: int = Field(default=4, ge=1, le=64, description="scenes that a process playing episodes keeps open")

    @classmethod
    def of_machine(cls) -> HabitatConfig:
        """As this machine's environment says; the default where it says nothing.

        Raises:
            UserError: a variable says what cannot be.
        """
        told = {name: os.environ[variable] for name, variable in MACHINE_VARIABLES.items() if os.environ.get(variable)}
        return parse_config(cls, told, source="environment variables FLYWHEEL_HABITAT_…")

    def tell_machine(self) -> None:
        """Say it to this process's environment and to all it starts, for replays; what is said there already stays."""
        usual = HabitatConfig()
        for name, variable in {"python": PYTHON_VARIABLE, **MACHINE_VARIABLES}.items():
            if getattr(self, name) != getattr(usual, name):
                os.environ.setdefault(variable, str(getattr(self, name)))

    @property
    def interpreter(self) -> str:
        """The Python that is to run it.

        Raises:
            UserError: nobody says which.
        """
        if self.python:
            return os.path.expanduser(self.python)
        if self.backend != "habitat":
            return sys.executable
        named = os.environ.get(PYTHON_VARIABLE, "")
        if not named:
            raise UserError(
                "no interpreter with habitat-sim is named",
                f"set scene.habitat.python, or {PYTHON_VARIABLE}, to the python of the environment that has it",
            )
        return os.path.expanduser(named)


class SceneConfig(StrictConfig):
    """Where homes are played."""

    kind: Literal["kinematic", "habitat"] = Field(
        default="kinematic", description="kinematic: the embedded geometry; habitat: habitat-sim, see `habitat`"
    )
    habitat: HabitatConfig = Field(default=HabitatConfig(), description="how habitat-sim is started")

    def told(self) -> dict[str, str]:
        """What of it decides how episodes go, for records; nothing for the default scene."""
        if self.kind == "kinematic":
            return {}
        return {
            "kind": self.kind,
            "backend": self.habitat.backend,
            "scene_dataset": os.path.basename(self.habitat.scene_dataset),
        }
