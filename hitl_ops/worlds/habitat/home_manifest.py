"""What the manifest of an exported home says: which node and which file is what, and the home itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised whenever a reader of the files has to know."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Versions(_Entry):
    """What wrote the files."""

    format: int = Field(description="of the manifest and of the files beside it")
    flywheel: str


class Files(_Entry):
    """Where things are, beside the manifest."""

    home: str = Field(description="the whole home, everything that moves as nodes of its own")
    stage: str = Field(description="what never moves: one static mesh for a simulator")
    stage_config: str
    scene_dataset_config: str


class NodeEntry(_Entry):
    """A node of the whole home's GLB. Nodes that are not listed are solids, named ``<node>/<solid>``."""

    name: str
    kind: Literal["floor", "ceiling", "walls", "door", "furniture", "moving_part", "lamp"]
    of: str = Field(description="the world's name of what it belongs to: a room, a door, a piece of furniture")
    semantic_id: int


class Box(_Entry):
    """How far a thing reaches in its own frame (furniture: origin on the floor, before yaw), metres."""

    low: Vec3
    high: Vec3


class MovingPart(_Entry):
    """What moves, as an object of its own. Furniture doors are there only while their furniture is closed."""

    node: str
    of: str = Field(description="a door or a piece of furniture")
    config: str = Field(description="its object config, beside the manifest")
    position: Vec3 = Field(description="of its frame while it is closed")
    yaw: float


class ObjectEntry(_Entry):
    """A kind of objects, or an agent. Its frame: origin at the middle of its underside; agents look along +x."""

    config: str = Field(description="its object config, beside the manifest")
    box: Box
    semantic_id: int


class Manifest(_Entry):
    """An exported home. Metres, y up, yaw in radians about +y."""

    versions: Versions
    scene_id: str
    files: Files
    description: SceneDescription = Field(
        description="rooms with bounds, doors, furniture with access places and slots, floor slots, spawns"
    )
    nodes: tuple[NodeEntry, ...]
    boxes: dict[str, Box] = Field(description="furniture → its box, doors closed")
    moving_parts: tuple[MovingPart, ...]
    objects: dict[str, ObjectEntry] = Field(description="kind → where it is")
    agents: dict[str, ObjectEntry]
    semantic_ids: dict[str, int] = Field(
        description="walls, ceiling, floor_<room>, doors, furniture → id; objects and agents say theirs"
    )
    sight_height: float | None = Field(
        description="above all furniture and below every lintel: only walls and leaves stop rays there"
    )


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of an exported home.

    Raises:
        UserError: there is none, or it is of another format.
    """
    path = Path(folder) / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise UserError(f"'{folder}' is no exported home", "make one with `flywheel export-home`") from None
    except ValidationError as error:
        what = f"'{path}' is not a manifest of format {FORMAT}"
        raise UserError(what, f"export the home anew ({error.errors()[0]['msg']})") from None
