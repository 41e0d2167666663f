"""What a home looks like: rooms, walls, doors, furniture and object shapes, as plain data.

One description serves the kinematic scene, the renderer and the browser. Axes: x and z on the floor, y up
(Habitat's convention), metres; yaw in radians about +y, 0 facing +x, positive turning from +x towards -z.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Vec3 = tuple[float, float, float]
Color = tuple[float, float, float]


class Part(BaseModel):
    """A coloured solid, in its owner's frame (furniture: origin on the floor at its centre, before yaw).

    ``size`` is the full extent along x, y, z. A cylinder stands along y with diameter ``size[0]``; a
    sphere has diameter ``size[0]``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Literal["box", "cylinder", "sphere"] = "box"
    center: Vec3
    size: Vec3
    color: Color
    role: Literal["body", "door", "lamp"] = Field(
        default="body",
        description="'door' parts are drawn only while the furniture is closed; 'lamp' parts glow when on",
    )


class Room(BaseModel):
    """A rectangular room."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="e.g. kitchen_1")
    kind: str = Field(description="e.g. kitchen, living_room")
    bounds: tuple[float, float, float, float] = Field(description="x0, z0, x1, z1 of the floor")
    floor_color: Color


class Wall(BaseModel):
    """A straight wall standing on the floor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: tuple[float, float] = Field(description="x, z")
    end: tuple[float, float] = Field(description="x, z")
    height: float = 2.4
    thickness: float = 0.1


class Door(BaseModel):
    """A doorway between two rooms with a leaf that may be closed; whoever walks through opens it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rooms: tuple[str, str]
    start: tuple[float, float] = Field(description="x, z of one jamb")
    end: tuple[float, float] = Field(description="x, z of the other jamb")
    height: float = 2.0
    open_at_start: bool


class Furniture(BaseModel):
    """A fixed piece of furniture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="e.g. table_2")
    kind: str
    room: str
    position: Vec3 = Field(description="centre of the footprint, on the floor")
    yaw: float = Field(description="its front faces along local +z")
    size: Vec3 = Field(description="full extent before yaw")
    parts: tuple[Part, ...]
    on_slots: tuple[Vec3, ...] = Field(description="places on its surface, world frame (y = surface height)")
    within_slots: tuple[Vec3, ...] = Field(description="places inside it, world frame")
    access: tuple[tuple[float, float], ...] = Field(description="free standing places in front of it, x, z")
    articulated: bool = Field(description="can be opened and closed; closed at the start")
    has_faucet: bool = False
    powerable: bool = False


class ObjectShape(BaseModel):
    """How an object kind is drawn (frame: origin at the middle of its underside)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    parts: tuple[Part, ...]


class SceneDescription(BaseModel):
    """A home."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scene_id: str
    seed: int
    split: str
    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    doors: tuple[Door, ...]
    furniture: tuple[Furniture, ...]
    floor_slots: dict[str, tuple[Vec3, ...]] = Field(description="room name → free places on its floor")
    spawns: tuple[tuple[float, float], ...] = Field(description="places agents may start at, x, z")
