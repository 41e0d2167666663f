"""Which scene something was played in, as records keep it, so that every machine opens the same one to replay it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

SceneKind = Literal["kinematic", "habitat"]


@dataclass(frozen=True, slots=True)
class PlayedScene:
    """All that decides a scene's geometry; interpreters and graphics cards belong to the machine that opens it.

    Attributes:
        kind: which scene, as ``SceneConfig.kind`` names it.
        scene_id: as the episode names it.
        backend: what answered in the scene's process, as ``HabitatConfig.backend`` names it; empty for a scene of the
            playing process itself, and in records that are older than this field.
        dataset: the scene data set's configuration, by the path it was given by; empty for our own homes.
    """

    kind: SceneKind
    scene_id: str
    backend: str = ""
    dataset: str = ""

    def in_header(self) -> dict[str, Any]:
        """The fields by which headers of records tell it, beside the episode's own scene id."""
        return {"scene": self.kind, "scene_backend": self.backend, "scene_dataset": self.dataset}
