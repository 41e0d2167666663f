"""The worker of a scene: one simulator in a process and an environment of its own, asked over a local socket.

This one file needs the standard library, NumPy, msgpack and, for its default backend, habitat_sim, and runs on Python
3.9 to 3.13; nothing else of Flywheel is needed beside it. Whoever starts it writes a token to its standard input and
keeps that open, reads a line ``ready <address>`` from its standard output, and connects.

A frame is four bytes of length (big-endian) and one msgpack map. The client asks ``{"id", "do", ...arguments}``; the
worker answers ``{"id", "ok": true, ...}`` or ``{"id", "ok": false, "error": {"what", "remedy"}}``, one answer to each
question, in order. What is no such frame closes the connection. The first question is ``hello``, the second ``load``.
The worker serves one connection, and ends with it, with its standard input, on SIGTERM, or after a long silence.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import importlib
import json
import math
import os
import platform
import selectors
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Callable

if __name__ == "__main__":
    # The files beside this one belong to another environment, and are no modules to be found by a bare name.
    _BESIDE = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or os.curdir) != _BESIDE]

import msgpack
import numpy as np

PROTOCOL = 2
"""Number of the language spoken here; both sides must speak the same."""
WORKER_VERSION = "1"
FRAME_BYTES = 64 * 2**20
"""Largest frame either side accepts, without its length."""
PIXELS = 4096
"""Largest width and height of a picture."""
AHEAD = 256
"""Most places of one ``ahead``."""
_ENTRIES = 2**20
"""Most entries of one list or map in a frame."""
_HELLO_BYTES, _HELLO_S = 4096, 5.0
_WAITING = 8
"""Most connections that are heard at the same time before one is welcome."""
_MASK_DIGITS = 4096
_NAME_LENGTH = 1024
_FARTHEST = 1e6
"""Metres; nothing is farther away than this."""
_LENGTH = struct.Struct(">I")
_CHUNK = 2**18
_CLOSE_WITHIN_S = 5.0
KINDS = ("rgb", "depth", "semantic")
"""Kinds of pictures: uint8 [h, w, 3]; float32 [h, w], metres along the view axis; int32 [h, w], ids of the manifest."""


class NoFrame(Exception):
    """The other side sends what is no frame."""


class SceneError(Exception):
    """Something a client is told instead of an answer.

    Args:
        what: names the thing and what is wrong with it.
        remedy: what to do about it; may be empty.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}: {remedy}" if remedy else what)


# --- frames -------------------------------------------------------------------------------------------------------


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message as a frame.

    Raises:
        NoFrame: it is larger than the other side accepts.
        OSError: the connection broke, or the other side does not read in time.
    """
    _send_body(connection, _packed(message))


def _send_body(connection: socket.socket, body: bytes) -> None:
    if len(body) < _CHUNK // 4:
        connection.sendall(_LENGTH.pack(len(body)) + body)
    else:
        # A picture is not copied once more for the sake of four bytes.
        connection.sendall(_LENGTH.pack(len(body)))
        connection.sendall(body)


def _packed(message: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(message, use_bin_type=True)
    if len(body) > FRAME_BYTES:
        raise NoFrame(f"a frame of {len(body)} bytes is larger than {FRAME_BYTES}")
    return body


def unpack(body: bytes | bytearray) -> dict[str, Any]:
    """The message of a frame's body.

    Raises:
        NoFrame: it is no msgpack map with texts for keys.
    """
    try:
        message = msgpack.unpackb(
            body, raw=False, strict_map_key=True, max_array_len=_ENTRIES, max_map_len=_ENTRIES, max_ext_len=0
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise NoFrame(f"what came is no msgpack ({type(error).__name__})") from None
    if not isinstance(message, dict):
        raise NoFrame("what came is no map")
    return message


class Frames:
    """Cuts what a blocking socket receives into messages.

    Args:
        connection: the socket.
        limit: largest frame accepted, bytes.
    """

    def __init__(self, connection: socket.socket, limit: int = FRAME_BYTES) -> None:
        self.connection = connection
        self.limit = limit
        self._have = bytearray()

    def read(self) -> dict[str, Any] | None:
        """The next message; None where the other side has closed.

        Raises:
            NoFrame: something else came.
            OSError: the connection broke, or nothing came in time.
        """
        have = self._have
        length = -1
        while True:
            if length < 0 and len(have) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(have)
                if length > self.limit:
                    raise NoFrame(f"a frame of {length} bytes is announced, {self.limit} are accepted")
            end = _LENGTH.size + length
            if length >= 0 and len(have) >= end:
                body = bytes(have[_LENGTH.size : end])
                del have[:end]
                return unpack(body)
            if length > _CHUNK // 4:
                return self._read_large(length)
            data = self.connection.recv(_CHUNK)
            if not data:
                return None
            have += data

    def _read_large(self, length: int) -> dict[str, Any] | None:
        """The rest of a frame, straight to where it belongs."""
        body = bytearray(length)
        there = len(self._have) - _LENGTH.size
        body[:there] = self._have[_LENGTH.size :]
        self._have.clear()
        view = memoryview(body)
        while there < length:
            count = self.connection.recv_into(view[there:])
            if not count:
                return None
            there += count
        return unpack(body)


# --- backends -----------------------------------------------------------------------------------------------------


class Backend(ABC):
    """What a worker asks of a simulator; one backend serves one scene.

    Places are (x, z) on the floor, metres; y is up. Sets of anchors and of doors are bit masks, Python ints of any
    size: anchor i is bit i of what ``load`` named, door i is bit i of the description's doors. Names are those of the
    scene's description. A method that cannot do what is asked raises :class:`SceneError`.

    Args:
        gpu: the graphics card to draw on; -1 draws without one.
    """

    name = "none"

    def __init__(self, gpu: int = -1) -> None:
        self.gpu = gpu

    def versions(self) -> dict[str, str]:
        """Versions of what the scene depends on, by name."""
        return {}

    def capabilities(self) -> list[str]:
        """What it can do beside the geometry: among "navmesh", "rgb", "depth", "semantic", "physics"."""
        return []

    @abstractmethod
    def load(self, scene: dict[str, Any]) -> dict[str, Any]:
        """Open a scene; called once, before everything below.

        Args:
            scene: ``{"kind": "home", "scene_id", "folder"}``, a home as it was exported into a folder, or
                ``{"kind": "dataset", "config", "scene_id", "annotations"}``, a scene of a Habitat scene data set;
                annotations are ``{"objects": {template: [receptacle...]}, "articulated": {template: {"receptacles",
                "opens": {link: [lower, upper]} or None}}, "unused": [text...], "inside": [text...]}``, each receptacle
                ``{"name", "link", "points"}``, or empty where nobody read them.

        Returns:
            ``{"scene_id", "description", "anchors"}``: the SceneDescription as plain data, None where the client has
            it already; every piece of furniture, then ``floor_<room>`` of every room.
        """

    @abstractmethod
    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> dict[str, Any] | None:
        """The shortest way to a furniture, a room, a floor or a place.

        Returns:
            ``{"points": [[x, z], ...], "lengths": [...]}``, start and end included, metres walked when reaching each
            point; None where there is no way.
        """

    @abstractmethod
    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """Mask of the anchors in line of sight from a place."""

    @abstractmethod
    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """Whether no wall and no closed door stands between two places."""

    @abstractmethod
    def doors_at(self, x: float, z: float) -> int:
        """Mask of the doors somebody standing at a place pushes open."""

    @abstractmethod
    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """Where a step ends, sliding along whatever is in the way."""

    @abstractmethod
    def room_at(self, x: float, z: float) -> str:
        """The room a place is in."""

    @abstractmethod
    def slots(self, parent: str, relation: str) -> list[tuple[float, float, float]]:
        """The places (x, y, z) things can take on or within a furniture, or on a ``floor_<room>``."""

    @abstractmethod
    def show(self, moment: dict[str, Any]) -> None:
        """Put everything that moves where it is, for the pictures that follow.

        Args:
            moment: ``{"objects": [{"name", "kind", "position", "yaw", "held_by", "parent", "relation", "states"}],
                "agents": [{"x", "z", "yaw"}], "open": [furniture...], "states": {furniture: {state: bool}},
                "doors_open": int}``; ``held_by`` is an agent's number or None, ``position`` that of the hand then.
        """

    @abstractmethod
    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Draw what was shown last.

        Args:
            camera: ``{"position", "yaw", "pitch", "fov", "extent", "near", "far", "hidden_agent", "ceilings"}``, as
                in Flywheel's ``Camera``: ``fov`` is horizontal, degrees; yaw 0 looks along +x.
            width: pixels.
            height: pixels.
            kinds: among :data:`KINDS`.

        Returns:
            An array of each kind, row 0 at the top.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; called once, at the end, also where nothing was loaded."""


# --- habitat-sim --------------------------------------------------------------------------------------------------
# Written against habitat-sim's own sources, versions 0.2.1 to 0.3.3; where they differ, a comment says so.

SIGHT_RANGE = 9.0
"""How far agents recognise things, metres; as in the kinematic scene."""
DOOR_PUSH = 0.7
"""A closed door opens when somebody comes this close, metres; as in the kinematic scene."""
STRIDE = 0.2
"""Longest distance between two points of a route, metres: doors are pushed and things seen at its points."""
EYE_HEIGHT = 1.5
"""Height of an agent's eyes above the floor, metres."""
_VOXEL = 0.025
# Rasterised obstacles grow by up to a voxel and the radius is rounded up to whole ones: what remains is a clearance
# between 0.175 and 0.2 m, so that wherever the kinematic scene lets an agent stand, the navigation mesh does too.
_AGENT_RADIUS, _AGENT_HEIGHT = 0.17, 1.7
_ABOVE_FLOOR = 0.3  # a snapped place higher than this is on top of something
_OUT_OF_SIGHT = -50.0
_CAMERAS_KEPT = 48
_PLACES_KEPT = 20_000
_ON_FLOOR = 0.005
_MANIFEST_FORMAT = 1
_GUIDE = "https://github.com/facebookresearch/habitat-sim#installation"


def _crosses(a: tuple[float, float], b: tuple[float, float], start: list[float], end: list[float]) -> bool:
    """Whether the line from a to b crosses the one from start to end."""
    (ax, az), (bx, bz), (cx, cz), (dx, dz) = a, b, start, end
    side_c = (bx - ax) * (cz - az) - (bz - az) * (cx - ax)
    side_d = (bx - ax) * (dz - az) - (bz - az) * (dx - ax)
    side_a = (dx - cx) * (az - cz) - (dz - cz) * (ax - cx)
    side_b = (dx - cx) * (bz - cz) - (dz - cz) * (bx - cx)
    return side_c * side_d < 0 and side_a * side_b < 0


class FloorPlan:
    """What a scene's description says of places: rooms, doors, access places and slots.

    Args:
        description: a SceneDescription as plain data.
    """

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self._rooms = description["rooms"]
        self._doors = description["doors"]
        self._furniture = {piece["name"]: piece for piece in description["furniture"]}
        self.anchors = [*self._furniture, *(f"floor_{room['name']}" for room in self._rooms)]
        # An agent may begin in the middle of each room: the free place nearest to it.
        middles = [tuple(place) for place in description["spawns"]]
        if len(middles) != len(self._rooms):
            middles = [
                ((r["bounds"][0] + r["bounds"][2]) / 2, (r["bounds"][1] + r["bounds"][3]) / 2) for r in self._rooms
            ]
        self._goals = {name: [tuple(place) for place in piece["access"]] for name, piece in self._furniture.items()}
        for room, middle in zip(self._rooms, middles):
            self._goals[room["name"]] = self._goals[f"floor_{room['name']}"] = [middle]
        centers = [(piece["position"][0], piece["position"][2]) for piece in self._furniture.values()]
        self.anchor_places = [*centers, *middles]
        self._door_middles = [
            ((door["start"][0] + door["end"][0]) / 2, (door["start"][1] + door["end"][1]) / 2) for door in self._doors
        ]

    def goals(self, name: str) -> list[tuple[float, float]]:
        """Where one goes to be at a furniture, a room or a floor."""
        if name not in self._goals:
            raise SceneError(f"the scene has no '{name}'", "send a name of its description")
        return self._goals[name]

    def doors_at(self, x: float, z: float) -> int:
        """Mask of the doors whose middle is close."""
        mask = 0
        for index, (door_x, door_z) in enumerate(self._door_middles):
            if math.hypot(x - door_x, z - door_z) <= DOOR_PUSH:
                mask |= 1 << index
        return mask

    def doors_between(self, a: tuple[float, float], b: tuple[float, float]) -> int:
        """Mask of the doorways a line of sight leads through."""
        mask = 0
        for index, door in enumerate(self._doors):
            if _crosses(a, b, door["start"], door["end"]):
                mask |= 1 << index
        return mask

    def room_at(self, x: float, z: float) -> str:
        """The room a place is in; the nearest one where it is in none."""
        nearest, name = math.inf, ""
        for room in self._rooms:
            x0, z0, x1, z1 = room["bounds"]
            if x0 <= x <= x1 and z0 <= z <= z1:
                return str(room["name"])
            away = math.hypot(x - (x0 + x1) / 2, z - (z0 + z1) / 2)
            if away < nearest:
                nearest, name = away, str(room["name"])
        return name

    def slots(self, parent: str, relation: str) -> list[tuple[float, float, float]]:
        """See ``Backend.slots``."""
        if parent.startswith("floor_") and parent in self._goals:
            places = self.description["floor_slots"][parent[len("floor_") :]]
        elif parent in self._furniture:
            places = self._furniture[parent]["within_slots" if relation == "within" else "on_slots"]
        else:
            raise SceneError(f"the scene has no '{parent}'", "send a name of its description")
        return [(float(x), float(y), float(z)) for x, y, z in places]


class Shot:
    """A picture to be taken, checked: Flywheel's camera in habitat-sim's terms.

    Attributes:
        key: names the sensor that takes such pictures.
        subtype: PINHOLE or ORTHOGRAPHIC.
        ortho_scale: of an orthographic one: one over the metres that its width shows.
    """

    def __init__(self, camera: dict[str, Any], width: int, height: int, ceiling: float | None) -> None:
        try:
            self.position = [float(value) for value in camera["position"]]
            self.yaw, self.pitch = float(camera["yaw"]), float(camera["pitch"])
            self.fov, self.near, self.far = float(camera["fov"]), float(camera["near"]), float(camera["far"])
            extent, hidden = camera["extent"], camera["hidden_agent"]
            self.extent = None if extent is None else (float(extent[0]), float(extent[1]))
            self.hidden_agent = None if hidden is None else int(hidden)
            ceilings = bool(camera["ceilings"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SceneError(f"the camera is no camera ({error!r})", "send all of Flywheel's Camera") from None
        numbers = [*self.position, self.yaw, self.pitch, self.fov, self.near, self.far, *(self.extent or ())]
        if len(self.position) != 3 or not all(math.isfinite(number) for number in numbers):
            raise SceneError("the camera is no camera", "send finite numbers")
        if not (0 < self.near < self.far and 0 < self.fov < 180 and min(self.extent or (1.0,)) > 0):
            raise SceneError("the camera shows nothing", "send 0 < near < far, a field of view and an extent above 0")
        self.width, self.height = width, height
        if not ceilings:
            self._look_below(ceiling)
        self.subtype = "PINHOLE" if self.extent is None else "ORTHOGRAPHIC"
        self.ortho_scale = 0.0
        if self.extent is not None:
            self.ortho_scale = 1.0 / (width * max(self.extent[0] / width, self.extent[1] / height))
        self.key = f"{width}x{height} {self.fov:g} {self.ortho_scale:.9g} {self.near:.9g} {self.far:.9g}"

    def _look_below(self, ceiling: float | None) -> None:
        """A stage is one mesh, so that its ceilings cannot be left out; seen from above, the near plane cuts them."""
        from_above = self.extent is not None and self.pitch < -math.pi / 2 + 1e-3
        if ceiling is None or not from_above or self.position[1] - ceiling >= self.far:
            raise SceneError("habitat-sim leaves out ceilings only from straight above", "send `ceilings` true")
        self.near = max(self.near, self.position[1] - ceiling)

    def axes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Unit vectors to the picture's right, to its top and into it."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        level, rise = math.cos(self.pitch), math.sin(self.pitch)
        right = np.array((sine, 0.0, cosine))
        return right, np.array((-rise * cosine, level, rise * sine)), np.array((level * cosine, rise, -level * sine))

    def metres(self, depth: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """habitat-sim's depth as metres along the view axis, float32 [h, w]; the far plane where nothing is.

        It tells 0 where nothing is, and undoes a perspective (gfx_batch/DepthUnprojection.cpp) of orthographic
        cameras too, which is undone in turn here.
        """
        depth = np.array(depth, dtype=np.float64)
        nothing = depth == 0
        if self.extent is not None:
            span = self.far - self.near
            first, second = (-2 / span - 1) / 2, -(self.far + self.near) / span / 2
            depth[nothing] = 1.0
            depth = self.near + span * (second / depth - first)
        depth[nothing] = self.far
        return np.clip(depth, 0.0, self.far).astype(np.float32)

    def points(self, depth: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Where in the scene each pixel's surface is, [h, w, 3]."""
        right, up, forward = self.axes()
        half_width = math.tan(math.radians(self.fov) / 2) if self.extent is None else 0.5 / self.ortho_scale
        half_height = half_width * self.height / self.width
        across = ((np.arange(self.width) + 0.5) / self.width * 2 - 1) * half_width
        down = (1 - (np.arange(self.height) + 0.5) / self.height * 2) * half_height
        plane = across[None, :, None] * right + down[:, None, None] * up
        away = depth[:, :, None].astype(np.float64)
        if self.extent is None:
            plane = plane * away
        return np.asarray(self.position) + plane + away * forward


class DatasetScene:
    """Describes a scene of a Habitat data set as a home: rooms, furniture, where one stands and where things go.

    Where one stands is probed by the navigation mesh; what things can stand on is where the data set's annotations
    have it, and probed by rays from above where they have nothing. Heights are told from the floor that most of the
    mesh belongs to.

    Args:
        habitat: the module.
        magnum: the module.
        sim: an open simulator whose mesh is there.
        annotations: see ``Backend.load``.

    Attributes:
        furnishings: the furniture whose links open, once the scene is described.
    """

    def __init__(self, habitat: Any, magnum: Any, sim: Any, annotations: dict[str, Any]) -> None:
        self._habitat, self._magnum, self._sim = habitat, magnum, sim
        self._annotations = annotations
        self.furnishings: list[Furnishing] = []
        self._paths = sim.pathfinder
        samples = [self._paths.get_random_navigable_point() for _ in range(_FLOOR_SAMPLES)]
        heights = sorted(float(point[1]) for point in samples if math.isfinite(float(point[1])))
        if not heights:
            raise SceneError("habitat-sim finds nowhere to walk in this scene", "look at its collision assets")
        self.floor = heights[len(heights) // 2]
        self._samples = [
            (float(point[0]), float(point[2])) for point in samples if abs(float(point[1]) - self.floor) < _ABOVE_FLOOR
        ]

    def description(self, scene_id: str) -> dict[str, Any]:
        """The scene as a SceneDescription, plain."""
        rooms: list[dict[str, Any]] = []
        spawns: list[tuple[float, float]] = []
        for name, kind, bounds in self._room_bounds():
            middle = ((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
            inside = [(x, z) for x, z in self._samples if bounds[0] <= x <= bounds[2] and bounds[1] <= z <= bounds[3]]
            here = self.stand(*middle)
            if here is None or not (bounds[0] <= here[0] <= bounds[2] and bounds[1] <= here[1] <= bounds[3]):
                here = min(inside, key=lambda place: math.dist(place, middle), default=None)
            if here is None or (spawns and not self._leads(spawns[0], here)):
                continue
            rooms.append({"name": name, "kind": kind, "bounds": bounds, "floor_color": (0.6, 0.55, 0.5)})
            spawns.append(here)
        if not rooms:
            raise SceneError(f"no room of scene '{scene_id}' can be entered", "look at its semantic regions")
        plan = {"rooms": rooms, "doors": [], "furniture": [], "spawns": spawns, "floor_slots": {}}
        in_room = FloorPlan(plan).room_at
        furniture = [piece for piece in self._furniture(spawns[0], in_room) if piece is not None]
        slots = {room["name"]: self._floor_slots(here) for room, here in zip(rooms, spawns)}
        more = {"scene_id": scene_id, "seed": 0, "split": "", "walls": []}
        return {**plan, **more, "furniture": furniture, "floor_slots": slots}

    def stand(self, x: float, z: float) -> tuple[float, float] | None:
        """The nearest place on the floor."""
        found = self._paths.snap_point(np.array((x, self.floor, z), dtype=np.float32))
        place = [float(found[axis]) for axis in range(3)]
        if not all(map(math.isfinite, place)) or abs(place[1] - self.floor) > _ABOVE_FLOOR:
            return None
        return place[0], place[2]

    def _leads(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        path = self._habitat.nav.MultiGoalShortestPath()
        path.requested_start = np.array((start[0], self.floor, start[1]), dtype=np.float32)
        path.requested_ends = [np.array((end[0], self.floor, end[1]), dtype=np.float32)]
        return bool(self._paths.find_path(path))

    # --- rooms --------------------------------------------------------------------------------------------

    def _room_bounds(self) -> list[tuple[str, str, tuple[float, float, float, float]]]:
        """Name, kind and bounds of each semantic region on this floor; one room of all there is where none are."""
        found: list[tuple[str, str, tuple[float, float, float, float]]] = []
        numbers: dict[str, int] = {}
        semantic = self._sim.semantic_scene
        for region in semantic.regions if semantic is not None else ():
            low, high = _corners(region.aabb)
            if low[1] > self.floor + 1.0 or high[1] < self.floor or high[0] - low[0] < 0.5 or high[2] - low[2] < 0.5:
                continue
            # Newer versions give regions names of their own, such as bedroom.001; elsewhere their category must do.
            name = scene_name(str(region.id).lower()) if any(map(str.isalpha, str(region.id))) else ""
            if not name:
                kind = _plain(region.category.name().split("/")[0].lower() if region.category is not None else "")
                numbers[kind] = numbers.get(kind, 0) + 1
                name = f"{kind or 'room'}_{numbers[kind]}"
            found.append((name, name.rsplit("_", 1)[0], (low[0], low[2], high[0], high[2])))
        if found:
            return found
        low, high = self._paths.get_bounds()
        return [("room_1", "room", (float(low[0]), float(low[2]), float(high[0]), float(high[2])))]

    def _floor_slots(self, middle: tuple[float, float]) -> list[tuple[float, float, float]]:
        slots = []
        for eighth in range(8):
            angle = eighth * math.pi / 4
            place = self.stand(middle[0] + 0.7 * math.cos(angle), middle[1] + 0.7 * math.sin(angle))
            if place is not None and 0.3 < math.dist(place, middle) < _REACH - 0.3:
                slots.append((place[0], 0.0, place[1]))
        return slots

    # --- furniture ----------------------------------------------------------------------------------------

    def _furniture(
        self, start: tuple[float, float], room_at: Callable[[float, float], str]
    ) -> Iterator[dict[str, Any] | None]:
        rigid, articulated = self._sim.get_rigid_object_manager(), self._sim.get_articulated_object_manager()
        dynamic = self._habitat.physics.MotionType.DYNAMIC
        for handle in rigid.get_object_handles():
            thing = rigid.get_object_by_handle(handle)
            if thing.motion_type != dynamic:
                box = self._habitat.geo.get_transformed_bb(thing.root_scene_node.cumulative_bb, thing.transformation)
                annotated = self._annotations["objects"].get(_template_of(handle), [])

                def pose(_: str, thing: Any = thing) -> Any:
                    return thing.transformation

                told = self._told(handle, annotated, pose, {thing.object_id}, set())
                yield self._piece(handle, _corners(box), {thing.object_id}, False, told, start, room_at)
        for handle in articulated.get_object_handles():
            thing = articulated.get_object_by_handle(handle)
            corners = []
            for link in range(-1, thing.num_links):
                node = thing.get_link_scene_node(link)
                box = self._habitat.geo.get_transformed_bb(node.cumulative_bb, node.absolute_transformation())
                corners.append(_corners(box))
            low = tuple(min(corner[0][axis] for corner in corners) for axis in range(3))
            high = tuple(max(corner[1][axis] for corner in corners) for axis in range(3))
            ids = {thing.object_id, *thing.link_object_ids}
            annotated = self._annotations["articulated"].get(_template_of(handle), {"receptacles": [], "opens": None})
            links = {thing.get_link_name(link): link for link in range(-1, thing.num_links)}
            opens = annotated["opens"]
            moving = {links[name]: limits for name, limits in (opens or {}).items() if links.get(name, -1) >= 0}

            def frame(name: str, thing: Any = thing, links: dict[str, int] = links) -> Any:
                return thing.get_link_scene_node(links.get(name, -1)).absolute_transformation()

            scale = float(getattr(thing, "global_scale", 1.0))
            inner = {name for name, link in links.items() if link in moving}
            can_open = opens is None or bool(moving)
            told = self._told(handle, annotated["receptacles"], frame, ids, inner, can_open, scale)
            piece = self._piece(handle, (low, high), ids, can_open, told, start, room_at)
            if piece is not None and moving:
                self.furnishings.append(Furnishing(piece["name"], thing, moving))
            yield piece

    def _told(
        self,
        handle: str,
        annotated: list[dict[str, Any]],
        frame: Callable[[str], Any],
        ids: set[int],
        inner: set[str],
        opens: bool = False,
        scale: float = 1.0,
    ) -> tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]] | None:
        """Places on and within a thing by its annotated receptacles; None where it has none.

        Within is what the annotations say is inside, what moves with a link that opens (``inner``), and, of a thing
        that opens, what lies under something else of it.
        """
        on: list[tuple[float, float, float]] = []
        within: list[tuple[float, float, float]] = []
        for receptacle in annotated:
            name = f"{handle}|{receptacle['name']}"
            if any(text in name for text in self._annotations["unused"]):
                continue
            moved = frame(receptacle["link"])
            inside = receptacle["link"] in inner or any(text in name for text in self._annotations["inside"])
            for point in receptacle["points"]:
                x, y, z = (value * scale for value in point)
                there = moved.transform_point(self._magnum.Vector3(x, y, z))
                place = (float(there[0]), float(there[1]), float(there[2]))
                lower = (place[0], place[1] - self.floor, place[2])
                if 0.0 <= lower[1] <= 1.8:
                    (within if inside or (opens and self._is_covered(place, ids)) else on).append(lower)
        return (on, within) if annotated else None

    def _is_covered(self, place: tuple[float, float, float], ids: set[int]) -> bool:
        """Whether something of a thing lies above a place of it."""
        vector = self._magnum.Vector3
        ray = self._habitat.geo.Ray(vector(place[0], place[1] + 0.05, place[2]), vector(0.0, 1.0, 0.0))
        return any(hit.object_id in ids for hit in self._sim.cast_ray(ray, 2.5).hits)

    def _piece(
        self,
        handle: str,
        box: tuple[Any, Any],
        ids: set[int],
        opens: bool,
        told: tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]] | None,
        start: tuple[float, float],
        room_at: Callable[[float, float], str],
    ) -> dict[str, Any] | None:
        """A piece of furniture; None for what is too small, too high, out of reach, or holds nothing."""
        low, high = box
        size = tuple(high[axis] - low[axis] for axis in range(3))
        if low[1] > self.floor + 0.6 or high[1] < self.floor + 0.2 or min(size[0], size[2]) < 0.2:
            return None
        access = self._access(low, high, start)
        middle = ((low[0] + high[0]) / 2, (low[2] + high[2]) / 2)
        on, within = told if told is not None else (self._surface(low, high, ids), [])
        if opens and told is None:
            y = (low[1] + high[1]) / 2 - self.floor
            within = [(low[0] + size[0] * share, y, middle[1]) for share in (0.25, 0.5, 0.75)]
        near = [[slot for slot in slots if _reached(slot, access)] for slots in (on, within)]
        if not access or not (near[0] or near[1]):
            return None
        name = scene_name(handle)
        bulk = {"center": (0.0, (low[1] + high[1]) / 2 - self.floor, 0.0), "size": size, "color": (0.62, 0.55, 0.45)}
        return {
            "name": name,
            "kind": name.rsplit("_", 1)[0],
            "room": room_at(*access[0]),
            "position": (middle[0], 0.0, middle[1]),
            "yaw": 0.0,
            "size": size,
            "parts": [bulk],
            "on_slots": near[0],
            "within_slots": near[1],
            "access": access,
            "articulated": opens,
        }

    def _access(self, low: Any, high: Any, start: tuple[float, float]) -> list[tuple[float, float]]:
        """Up to four places to stand, one before each side."""
        x, z = (low[0] + high[0]) / 2, (low[2] + high[2]) / 2
        away = 0.35
        found: list[tuple[float, float]] = []
        for place in ((x, high[2] + away), (x, low[2] - away), (high[0] + away, z), (low[0] - away, z)):
            here = self.stand(*place)
            if here is not None and math.dist(here, place) < 0.5 and self._leads(start, here):
                found.append(here)
        return found

    def _surface(self, low: Any, high: Any, ids: set[int]) -> list[tuple[float, float, float]]:
        """Places on top of a thing: where rays from above meet it first."""
        vector = self._magnum.Vector3
        counts = [max(1, min(4, int((high[axis] - low[axis]) / 0.3))) for axis in (0, 2)]
        places = []
        for row in range(counts[1]):
            for column in range(counts[0]):
                x = low[0] + (high[0] - low[0]) * (column + 0.5) / counts[0]
                z = low[2] + (high[2] - low[2]) * (row + 0.5) / counts[1]
                ray = self._habitat.geo.Ray(vector(x, high[1] + 0.05, z), vector(0.0, -1.0, 0.0))
                hits = self._sim.cast_ray(ray, high[1] - self.floor + 0.1).hits
                first = min(hits, key=lambda hit: hit.ray_distance, default=None)
                if first is None or first.object_id not in ids:
                    continue
                y = high[1] + 0.05 - first.ray_distance - self.floor
                if 0.15 <= y <= 1.8:
                    places.append((x, y, z))
        return places


class Furnishing:
    """Furniture some of whose links open.

    Args:
        name: as the scene's description has it.
        thing: the articulated object.
        moving: number of each link that opens → its joint's limits.
    """

    def __init__(self, name: str, thing: Any, moving: dict[int, list[float]]) -> None:
        self.name, self._thing, self._is_open = name, thing, False
        self._shut = [float(value) for value in thing.joint_positions]
        self._wide = list(self._shut)
        for link, (lower, upper) in moving.items():
            at = int(thing.get_link_joint_pos_offset(link))
            # Open is whichever end of its way is farther from where the data set has it.
            self._wide[at] = upper if upper - self._shut[at] >= self._shut[at] - lower else lower

    def open(self, wide: bool) -> None:
        """Show it open, or shut."""
        if wide != self._is_open:
            self._thing.joint_positions = self._wide if wide else self._shut
            self._is_open = wide


_FLOOR_SAMPLES = 400
_STAND_IN_ID = 2**15  # above what scenes use
_REACH = 2.0


def scene_name(handle: str) -> str:
    """What a scene's object or region is called in our worlds: its handle, without what no action can spell."""
    name = _plain(handle)
    return name if "_" in name else f"{name}_1"


def _template_of(handle: str) -> str:
    """``Cup_7_:0000`` is one of ``Cup_7``."""
    return handle.rsplit("_:", 1)[0].rsplit("/", 1)[-1]


def _plain(text: str) -> str:
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)
    return "_".join(part for part in kept.split("_") if part)


def _reached(slot: tuple[float, float, float], access: list[tuple[float, float]]) -> bool:
    return all(math.dist((slot[0], slot[2]), place) <= _REACH - 0.2 for place in access)


def _corners(box: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Low and high corner of a box: magnum's Range3D, or, of regions in older versions, a BBox."""
    if hasattr(box, "min"):
        low, high = box.min, box.max
    else:
        low, high = (np.asarray(box.center) + side * np.asarray(box.sizes) / 2 for side in (-1, 1))
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


class HabitatBackend(Backend):
    """habitat-sim: ways and slides by its navigation mesh, sight by ray casts, pictures by its renderer.

    Our homes come as a folder that ``home_export`` wrote: a stage, configurations of objects, and a manifest, from
    which rooms, slots, access places and doors are taken. Doors never stand in the way of a mesh or of a ray: their
    leaves are objects without collisions, and a line of sight through a doorway counts only while its door is open.
    """

    name = "habitat"

    def __init__(self, gpu: int = -1) -> None:
        super().__init__(gpu)
        # What it logs would drown its last words.
        for variable in ("HABITAT_SIM_LOG", "MAGNUM_LOG"):
            os.environ.setdefault(variable, "quiet")
        self._habitat: Any = None
        self._magnum: Any = None
        self._missing = ""
        try:
            self._habitat = importlib.import_module("habitat_sim")
            self._magnum = importlib.import_module("magnum")
        except Exception as error:  # whatever a broken installation raises
            self._missing = f"{type(error).__name__}: {error}"
        self._sim: Any = None
        self._plan: FloorPlan
        self._manifest: dict[str, Any] = {}
        self._floor = 0.0
        self._eye = EYE_HEIGHT
        self._anchor_heights: list[float] = []
        self._in_sight: dict[tuple[float, float], list[tuple[int, int]]] = {}
        self._shown = False
        self._agents_shown: list[tuple[float, float, float]] = []
        self._handles: dict[str, str] = {}
        self._moving: list[tuple[dict[str, Any], Any]] = []
        self._bodies: list[Any] = []
        self._things: dict[str, tuple[str, Any]] = {}
        self._labels: set[int] = set()
        self._furnishings: list[Furnishing] = []

    def versions(self) -> dict[str, str]:
        """See ``Backend.versions``."""
        return {} if self._habitat is None else {"habitat_sim": str(self._habitat.__version__)}

    def capabilities(self) -> list[str]:
        """See ``Backend.capabilities``."""
        return [] if self._habitat is None else ["navmesh", "rgb", "depth", "semantic"]

    # --- opening ------------------------------------------------------------------------------------------

    def load(self, scene: dict[str, Any]) -> dict[str, Any]:
        """See ``Backend.load``."""
        if self._missing:
            raise SceneError(
                f"habitat_sim cannot be imported by {sys.executable} ({self._missing})",
                f"set habitat.python to the interpreter of an environment that has it; its own guide: {_GUIDE}",
            )
        if not getattr(self._habitat, "built_with_bullet", True):
            raise SceneError(
                "this habitat-sim is built without Bullet, which casts the rays of sight",
                f"install it with Bullet, see {_GUIDE}",
            )
        if scene["kind"] == "home":
            return self._load_home(scene["folder"], scene["scene_id"])
        return self._load_dataset(scene["config"], scene["scene_id"], scene["annotations"])

    def _load_dataset(self, config: str, scene_id: str, annotations: dict[str, Any]) -> dict[str, Any]:
        """A scene as its data set has it; walls and closed doors of it are what its stage's mesh says."""
        if not os.path.isfile(config):
            raise SceneError(f"scene data set '{config}' is missing", "set scene.habitat.scene_dataset to its path")
        self._open_simulator(scene_id, config)
        self._make_navmesh(include_static=True)
        found = DatasetScene(self._habitat, self._magnum, self._sim, annotations)
        description = found.description(scene_id)
        self._floor, self._furnishings = found.floor, found.furnishings
        self._plan = FloorPlan(description)
        heights = [piece["size"][1] / 2 for piece in description["furniture"]]
        self._anchor_heights = [*heights, *(_ABOVE_FLOOR for _ in description["rooms"])]
        return {"scene_id": scene_id, "description": description, "anchors": self._plan.anchors}

    def _load_home(self, folder: str, scene_id: str) -> dict[str, Any]:
        manifest = self._manifest = _read_manifest(folder, scene_id)
        if manifest["sight_height"] is None:
            raise SceneError(
                f"in home '{scene_id}' furniture is taller than doorways: no height is left to look over it",
                "play it in the kinematic scene",
            )
        self._plan = FloorPlan(manifest["description"])
        # Above all furniture and below all lintels: only walls stop a ray there.
        self._eye = float(manifest["sight_height"])
        self._anchor_heights = [self._eye] * len(self._plan.anchors)
        self._open_simulator(os.path.join(folder, manifest["files"]["stage_config"]))
        self._make_navmesh()
        self._add_home_objects(folder)
        return {"scene_id": scene_id, "description": None, "anchors": self._plan.anchors}

    def _open_simulator(self, scene: str, dataset: str = "") -> None:
        """Start the simulator. Where its graphics card is not there, it aborts the process and raises nothing."""
        habitat = self._habitat
        backend = habitat.SimulatorConfiguration()
        backend.scene_id = scene
        if dataset:
            backend.scene_dataset_config_file = dataset
        backend.gpu_device_id = self.gpu
        backend.enable_physics = True
        backend.random_seed = 0
        # Without lights of its own a stage would be drawn flat, or black by physically based shading.
        backend.override_scene_light_defaults = True
        backend.scene_light_setup = habitat.gfx.DEFAULT_LIGHTING_KEY
        agent = habitat.agent.AgentConfiguration()
        # Sensors are added as pictures are asked for; textures and semantics are only loaded if one is there before.
        first = Shot(_FIRST_CAMERA, 16, 16, None)
        agent.sensor_specifications = [self._sensor_spec(kind, "first", first) for kind in KINDS]
        try:
            self._sim = habitat.simulator.Simulator(habitat.simulator.Configuration(backend, [agent]))
        except Exception as error:
            raise SceneError(
                f"habitat-sim cannot open '{scene}' ({type(error).__name__}: {error})",
                "look at the path, and at the worker's log",
            ) from None

    def _make_navmesh(self, include_static: bool = False) -> None:
        sim, settings = self._sim, self._habitat.nav.NavMeshSettings()
        settings.set_defaults()
        settings.cell_size = _VOXEL
        settings.cell_height = 2 * _VOXEL
        settings.agent_radius = _AGENT_RADIUS
        settings.agent_height = _AGENT_HEIGHT
        more = []
        if include_static:
            # Since 0.3.0 one of the settings, before an argument of its own.
            if hasattr(settings, "include_static_objects"):
                settings.include_static_objects = True
            else:
                more = [True]
        if not sim.recompute_navmesh(sim.pathfinder, settings, *more) or not sim.pathfinder.is_loaded:
            raise SceneError("habitat-sim finds nowhere to walk in this scene", "look at the stage's collision asset")
        sim.pathfinder.seed(0)

    # --- ways ---------------------------------------------------------------------------------------------

    def _ground(self, x: float, z: float) -> np.ndarray[Any, Any]:
        return np.array((x, self._floor, z), dtype=np.float32)

    def _snap(self, x: float, z: float) -> np.ndarray[Any, Any] | None:
        """The nearest place on the floor's mesh; None where there is none."""
        found = self._sim.pathfinder.snap_point(self._ground(x, z))
        place = np.array([found[0], found[1], found[2]], dtype=np.float32)
        if not np.isfinite(place).all() or abs(float(place[1]) - self._floor) > _ABOVE_FLOOR:
            return None
        return place

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> dict[str, Any] | None:
        """See ``Backend.route``: to the nearest access place, by the way one walks."""
        goals = self._plan.goals(target) if isinstance(target, str) else [target]
        begin = self._snap(*start)
        ends = [place for place in (self._snap(*goal) for goal in goals) if place is not None]
        if begin is None or not ends:
            return None
        path = self._habitat.nav.MultiGoalShortestPath()
        path.requested_start = begin
        path.requested_ends = ends
        if not self._sim.pathfinder.find_path(path) or not math.isfinite(path.geodesic_distance):
            return None
        return _walk([(float(point[0]), float(point[2])) for point in path.points])

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """See ``Backend.slide``."""
        if dx == 0 and dz == 0:
            return x, z
        begin = self._snap(x, z)
        if begin is None:
            return x, z
        # From where one is, which may be a hair beside the mesh; only the height is the mesh's.
        if math.hypot(begin[0] - x, begin[2] - z) < _VOXEL:
            begin[0], begin[2] = x, z
        end = self._sim.pathfinder.try_step(begin, begin + np.array((dx, 0.0, dz), dtype=np.float32))
        return float(end[0]), float(end[2])

    # --- sight --------------------------------------------------------------------------------------------

    def _clear(self, a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
        """Whether nothing of the stage stands between two places."""
        near, far = sorted((a, b))  # the same answer both ways
        span = [there - here for here, there in zip(near, far)]
        length = math.sqrt(sum(value * value for value in span))
        if length < 1e-6:
            return True
        vector = self._magnum.Vector3
        # A direction of length 1: versions disagree on what the distance of a longer one would mean.
        ray = self._habitat.geo.Ray(vector(*near), vector(*(value / length for value in span)))
        results = self._sim.cast_ray(ray, length)
        stage = (getattr(self._habitat, "stage_id", -1), -1)
        return not any(hit.object_id in stage for hit in results.hits)

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """See ``Backend.line_of_sight``: a ray above all furniture and below all lintels; doors by their mask."""
        closed = self._plan.doors_between(a, b) & ~doors_open
        height = self._floor + self._eye
        return not closed and self._clear((a[0], height, a[1]), (b[0], height, b[1]))

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """See ``Backend.seen_from``."""
        in_sight = self._in_sight.get((x, z))
        if in_sight is None:
            if len(self._in_sight) >= _PLACES_KEPT:
                self._in_sight.clear()
            in_sight = self._in_sight[(x, z)] = self._anchors_in_sight(x, z)
        seen = 0
        for bit, doors in in_sight:
            if doors & ~doors_open == 0:
                seen |= bit
        return seen

    def _anchors_in_sight(self, x: float, z: float) -> list[tuple[int, int]]:
        """Bit of each anchor that no wall hides, and the mask of the doors that have to be open."""
        found = []
        eye = (x, self._floor + self._eye, z)
        for index, (there_x, there_z) in enumerate(self._plan.anchor_places):
            near = math.hypot(there_x - x, there_z - z) <= SIGHT_RANGE
            if near and self._clear(eye, (there_x, self._floor + self._anchor_heights[index], there_z)):
                found.append((1 << index, self._plan.doors_between((x, z), (there_x, there_z))))
        return found

    # --- places -------------------------------------------------------------------------------------------

    def doors_at(self, x: float, z: float) -> int:
        """See ``Backend.doors_at``."""
        return self._plan.doors_at(x, z)

    def room_at(self, x: float, z: float) -> str:
        """See ``Backend.room_at``."""
        return self._plan.room_at(x, z)

    def slots(self, parent: str, relation: str) -> list[tuple[float, float, float]]:
        """See ``Backend.slots``."""
        return self._plan.slots(parent, relation)

    # --- things -------------------------------------------------------------------------------------------

    def _add_home_objects(self, folder: str) -> None:
        """Load the configurations of all objects; place doors and agents, which are always there."""
        manifest = self._manifest
        configs = [entry["config"] for entry in manifest["moving_parts"]]
        configs += [entry["config"] for group in ("objects", "agents") for entry in manifest[group].values()]
        templates = self._sim.get_object_template_manager()
        for place in sorted({os.path.dirname(config) for config in configs}):
            templates.load_configs(os.path.join(folder, place))
        known = {os.path.basename(handle): handle for handle in templates.get_template_handles()}
        for config in configs:
            if os.path.basename(config) not in known:
                raise SceneError(f"habitat-sim loads no '{os.path.join(folder, config)}'", "export the home anew")
            self._handles[config] = known[os.path.basename(config)]
        ids = manifest["semantic_ids"]
        self._moving = [(part, self._add(part["config"], ids[part["of"]])) for part in manifest["moving_parts"]]
        agents = manifest["agents"]
        self._bodies = [self._add(agents[name]["config"], agents[name]["semantic_id"]) for name in sorted(agents)]

    def _add(self, config: str, semantic_id: int) -> Any:
        """Put an object into the scene, out of sight; nothing collides with it and no ray meets it."""
        habitat = self._habitat
        thing = self._sim.get_rigid_object_manager().add_object_by_template_handle(self._handles[config])
        if thing is None:
            raise SceneError(f"habitat-sim cannot add an object of '{config}'", "export the home anew")
        thing.motion_type = habitat.physics.MotionType.KINEMATIC
        thing.collidable = False
        thing.semantic_id = semantic_id
        self._labels.add(semantic_id)
        self._put_away(thing)
        return thing

    def _stand_in(self) -> Any:
        """A cube, which habitat-sim makes itself: scenes of data sets have no objects of ours."""
        handles = self._sim.get_object_template_manager().get_template_handles("cubeSolid")
        if not handles:
            raise SceneError("habitat-sim has no template 'cubeSolid' to show objects by", "ask for no pictures")
        self._handles["cubeSolid"] = handles[0]
        return self._add("cubeSolid", _STAND_IN_ID + len(self._things))

    def _put(self, thing: Any, position: tuple[float, float, float], yaw: float) -> None:
        magnum, (x, y, z) = self._magnum, position
        thing.translation = magnum.Vector3(x, y + self._floor, z)
        thing.rotation = magnum.Quaternion.rotation(magnum.Rad(yaw), magnum.Vector3(0.0, 1.0, 0.0))

    def _put_away(self, thing: Any) -> None:
        thing.translation = self._magnum.Vector3(0.0, _OUT_OF_SIGHT, 0.0)

    def show(self, moment: dict[str, Any]) -> None:
        """See ``Backend.show``. Lamps and other states change no material: they are not drawn."""
        try:
            self._show(moment)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SceneError(f"the moment to be shown is no moment of this home ({error!r})") from None
        self._shown = True

    def _show(self, moment: dict[str, Any]) -> None:
        doors = [door["name"] for door in self._plan.description["doors"]]
        opened = {name for index, name in enumerate(doors) if moment["doors_open"] >> index & 1}
        opened.update(moment["open"])
        for part, thing in self._moving:
            if part["of"] in opened:
                self._put_away(thing)
            else:
                self._put(thing, tuple(part["position"]), part["yaw"])
        for furnishing in self._furnishings:
            furnishing.open(furnishing.name in opened)
        agents = moment["agents"]
        for number, body in enumerate(self._bodies):
            if number < len(agents):
                self._put(body, (float(agents[number]["x"]), 0.0, float(agents[number]["z"])), agents[number]["yaw"])
            else:
                self._put_away(body)
        self._agents_shown = [(float(one["x"]), float(one["z"]), float(one["yaw"])) for one in agents]
        there = {one["name"]: one for one in moment["objects"]}
        for name, (_, thing) in self._things.items():
            if name not in there:
                self._put_away(thing)
        for name, one in there.items():
            x, y, z = one["position"]
            self._put(self._thing(name, one["kind"]), (float(x), float(y), float(z)), float(one["yaw"]))

    def _thing(self, name: str, kind: str) -> Any:
        known = self._things.get(name)
        if known is not None and known[0] == kind:
            return known[1]
        if not self._manifest:
            self._things[name] = (kind, self._stand_in())
            return self._things[name][1]
        entry = self._manifest["objects"].get(kind)
        if entry is None:
            raise SceneError(f"the scene has no objects of kind '{kind}'", "send a kind of its manifest")
        if known is not None:
            self._put_away(known[1])
        self._things[name] = (kind, self._add(entry["config"], entry["semantic_id"]))
        return self._things[name][1]

    # --- pictures -----------------------------------------------------------------------------------------

    def _sensor_spec(self, kind: str, name: str, shot: Shot) -> Any:
        sensor = self._habitat.sensor
        spec = sensor.CameraSensorSpec()
        spec.uuid = f"{kind} {name}"
        types = {"rgb": "COLOR", "depth": "DEPTH", "semantic": "SEMANTIC"}
        spec.sensor_type = getattr(sensor.SensorType, types[kind])
        spec.sensor_subtype = getattr(sensor.SensorSubType, shot.subtype)
        spec.resolution = [shot.height, shot.width]
        spec.position = [0.0, 0.0, 0.0]  # else it would be 1.5 m above its agent
        spec.channels = 4 if kind == "rgb" else 1
        spec.near, spec.far = shot.near, shot.far
        if shot.extent is None:
            spec.hfov = shot.fov
        else:
            spec.ortho_scale = shot.ortho_scale
        return spec

    def _observe(self, kind: str, shot: Shot) -> np.ndarray[Any, Any]:
        sim = self._sim
        # Since 0.3.3 `sensors`; before, and there still, `_sensors`. `get_sensor_observations` would draw them all.
        sensors = sim.sensors if hasattr(sim, "sensors") else sim._sensors
        spec = self._sensor_spec(kind, shot.key, shot)
        if spec.uuid not in sensors:
            if len(sensors) >= _CAMERAS_KEPT:
                raise SceneError(f"more than {_CAMERAS_KEPT} different cameras were asked for", "open the scene anew")
            sim.add_sensor(spec)
            sensors = sim.sensors if hasattr(sim, "sensors") else sim._sensors
        sensors[spec.uuid].draw_observation()
        return np.asarray(sensors[spec.uuid].get_observation())

    def picture(
        self, camera: dict[str, Any], width: int, height: int, kinds: list[str]
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See ``Backend.picture``."""
        if not self._shown:
            raise SceneError("nothing was shown yet", "send 'show' first")
        shot = Shot(camera, width, height, self._ceiling())
        magnum = self._magnum
        # habitat-sim's cameras look along -z: turned by yaw - 90° about y, they look where ours do.
        turn = magnum.Quaternion.rotation(magnum.Rad(shot.yaw - math.pi / 2), magnum.Vector3(0.0, 1.0, 0.0))
        nod = magnum.Quaternion.rotation(magnum.Rad(shot.pitch), magnum.Vector3(1.0, 0.0, 0.0))
        node = self._sim.get_agent(0).scene_node
        node.reset_transformation()
        x, y, z = shot.position
        node.translate(magnum.Vector3(x, y + self._floor, z))
        node.rotation = turn * nod
        hidden = shot.hidden_agent
        body = (
            self._bodies[hidden]
            if hidden is not None and 0 <= hidden < min(len(self._bodies), len(self._agents_shown))
            else None
        )
        if body is not None:
            self._put_away(body)
        try:
            return self._draw(shot, kinds)
        finally:
            if body is not None and hidden is not None:
                here_x, here_z, yaw = self._agents_shown[hidden]
                self._put(body, (here_x, 0.0, here_z), yaw)

    def _draw(self, shot: Shot, kinds: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        drawn: dict[str, np.ndarray[Any, Any]] = {}
        if "rgb" in kinds:
            drawn["rgb"] = np.ascontiguousarray(self._observe("rgb", shot)[:, :, :3], dtype=np.uint8)
        if "depth" in kinds or "semantic" in kinds:
            drawn["depth"] = shot.metres(self._observe("depth", shot))
        if "semantic" in kinds:
            seen = np.array(self._observe("semantic", shot), dtype=np.int64)
            drawn["semantic"] = self._named(seen, shot.points(drawn["depth"]), drawn["depth"] < shot.far)
        return {kind: drawn[kind] for kind in kinds}

    def _ceiling(self) -> float | None:
        """Height within the ceilings' slabs, above all walls; None where nobody knows of ceilings."""
        walls = self._plan.description["walls"]
        return max(wall["height"] for wall in walls) + _ON_FLOOR if walls and self._manifest else None

    def _named(
        self, seen: np.ndarray[Any, Any], points: np.ndarray[Any, Any], there: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """The manifest's ids, int32 [h, w]; 0 where nothing is.

        Objects, doors and agents carry theirs. A stage is one mesh without ids: where a pixel of it lies
        says what it shows.
        """
        ids = np.where(np.isin(seen, sorted(self._labels)) & there, seen, 0)
        if not self._manifest:
            return np.where(there, seen, 0).astype(np.int32)
        still = (ids == 0) & there
        places, labels = points[still], self._manifest["semantic_ids"]
        named = np.full(len(places), labels["walls"], dtype=np.int64)
        x, y, z = places.T
        ceiling = max((wall["height"] for wall in self._plan.description["walls"]), default=math.inf)
        named[y >= ceiling - _ON_FLOOR] = labels["ceiling"]
        low = y < _ON_FLOOR
        for room in self._plan.description["rooms"]:
            x0, z0, x1, z1 = room["bounds"]
            inside = (x >= x0) & (x <= x1) & (z >= z0) & (z <= z1)
            named[low & inside] = labels[f"floor_{room['name']}"]
        for piece in self._plan.description["furniture"]:
            box = self._manifest["boxes"][piece["name"]]
            cosine, sine = math.cos(piece["yaw"]), math.sin(piece["yaw"])
            away_x, away_z = x - piece["position"][0], z - piece["position"][2]
            own = (cosine * away_x - sine * away_z, y - piece["position"][1], sine * away_x + cosine * away_z)
            inside = ~low
            for axis in range(3):
                inside &= (own[axis] >= box["low"][axis] - _ON_FLOOR) & (own[axis] <= box["high"][axis] + _ON_FLOOR)
            named[inside] = labels[piece["name"]]
        ids[still] = named
        return ids.astype(np.int32)

    def close(self) -> None:
        """See ``Backend.close``."""
        sim, self._sim = self._sim, None
        if sim is not None:
            sim.close()


_FIRST_CAMERA = {
    "position": (0.0, 0.0, 0.0),
    "yaw": 0.0,
    "pitch": 0.0,
    "fov": 90.0,
    "extent": None,
    "near": 0.05,
    "far": 60.0,
    "hidden_agent": None,
    "ceilings": True,
}


def _read_manifest(folder: str, scene_id: str) -> dict[str, Any]:
    path = os.path.join(folder, "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
        if manifest["versions"]["format"] != _MANIFEST_FORMAT:
            raise ValueError(f"format {manifest['versions']['format']}, not {_MANIFEST_FORMAT}")
        if manifest["scene_id"] != scene_id:
            raise ValueError(f"it is home '{manifest['scene_id']}', not '{scene_id}'")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"'{path}' is no exported home ({error})", "export it anew: flywheel export-home") from None
    return dict(manifest)


def _walk(corners: list[tuple[float, float]]) -> dict[str, Any]:
    """A route along straight lines, in equal strides on each."""
    points, lengths = [corners[0]], [0.0]
    for (x0, z0), (x1, z1) in zip(corners, corners[1:]):
        long = math.hypot(x1 - x0, z1 - z0)
        if long < 1e-6:
            continue
        strides = max(1, math.ceil(long / STRIDE - 1e-9))
        done = lengths[-1]
        for stride in range(1, strides + 1):
            share = stride / strides
            points.append((x0 + (x1 - x0) * share, z0 + (z1 - z0) * share))
            lengths.append(done + long * share)
    return {"points": points, "lengths": lengths}


# --- questions ----------------------------------------------------------------------------------------------------


def _wrong(name: str, wanted: str) -> SceneError:
    return SceneError(f"argument '{name}' is missing or wrong", f"send {wanted}")


def _number(asked: dict[str, Any], name: str) -> float:
    value = asked.get(name)
    if type(value) is float or type(value) is int:
        value = float(value) if abs(value) <= _FARTHEST else math.nan
        if value == value:
            return value
    raise _wrong(name, f"a number within ±{_FARTHEST:g}")


def _place(asked: dict[str, Any], name: str) -> tuple[float, float]:
    value = asked.get(name)
    if isinstance(value, list) and len(value) == 2:
        numbers = {"x": value[0], "z": value[1]}
        return _number(numbers, "x"), _number(numbers, "z")
    raise _wrong(name, "a place [x, z]")


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if isinstance(value, str) and len(value) <= _NAME_LENGTH:
        return value
    raise _wrong(name, f"a text of at most {_NAME_LENGTH} letters")


def _mask(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if isinstance(value, str) and 0 < len(value) <= _MASK_DIGITS and not value.strip("0123456789abcdef"):
        return int(value, 16)
    raise _wrong(name, "a mask in hexadecimal digits")


def _pixels(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if type(value) is int and 0 < value <= PIXELS:
        return value
    raise _wrong(name, f"a whole number from 1 to {PIXELS}")


def _annotations(scene: dict[str, Any]) -> dict[str, Any]:
    """What the client read of a scene's annotations; empty maps and lists for what it tells nothing of."""
    told = scene.get("annotations", {})
    try:
        return {
            "objects": {template: _receptacles(one) for template, one in told.get("objects", {}).items()},
            "articulated": {
                template: {
                    "receptacles": _receptacles(one["receptacles"]),
                    "opens": None
                    if one["opens"] is None
                    else {link: _numbers(limits, 2) for link, limits in one["opens"].items()},
                }
                for template, one in told.get("articulated", {}).items()
            },
            "unused": [_text({"name": one}, "name") for one in told.get("unused", [])],
            "inside": [_text({"name": one}, "name") for one in told.get("inside", [])],
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _wrong("scene.annotations", "what `Backend.load` describes") from None


def _receptacles(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": _text(one, "name"),
            "link": _text(one, "link"),
            "points": [_numbers(point, 3) for point in one["points"]],
        }
        for one in told
    ]


def _numbers(told: list[float], count: int) -> list[float]:
    if len(told) != count:
        raise ValueError
    return [_number({"number": value}, "number") for value in told]


def _route(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    named = isinstance(asked.get("target"), str)
    target = _text(asked, "target") if named else _place(asked, "target")
    return {"route": backend.route(_place(asked, "start"), target)}


def _seen_from(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    seen = backend.seen_from(_number(asked, "x"), _number(asked, "z"), _mask(asked, "doors_open"))
    return {"mask": f"{seen:x}"}


def _line_of_sight(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"clear": bool(backend.line_of_sight(_place(asked, "a"), _place(asked, "b"), _mask(asked, "doors_open")))}


def _doors_at(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"mask": f"{backend.doors_at(_number(asked, 'x'), _number(asked, 'z')):x}"}


def _ahead(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    """What somebody meets who walks past some places: the doors pushed open at each, and what is in sight then."""
    places = asked.get("places")
    if not isinstance(places, list) or not 0 < len(places) <= AHEAD:
        raise _wrong("places", f"1 to {AHEAD} places [x, z]")
    opened, doors, seen = _mask(asked, "doors_open"), [], []
    for one in places:
        x, z = _place({"place": one}, "place")
        here = backend.doors_at(x, z)
        opened |= here
        doors.append(f"{here:x}")
        seen.append(f"{backend.seen_from(x, z, opened):x}")
    return {"doors": doors, "seen": seen}


def _slide(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    x, z = backend.slide(_number(asked, "x"), _number(asked, "z"), _number(asked, "dx"), _number(asked, "dz"))
    return {"place": (float(x), float(z))}


def _room_at(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"room": backend.room_at(_number(asked, "x"), _number(asked, "z"))}


def _slots(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    return {"slots": backend.slots(_text(asked, "parent"), _text(asked, "relation"))}


def _show(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    moment = asked.get("moment")
    if not isinstance(moment, dict):
        raise _wrong("moment", "a map")
    for name, kind in (("objects", list), ("agents", list), ("open", list), ("states", dict)):
        if not isinstance(moment.get(name), kind):
            raise _wrong(f"moment.{name}", f"a {kind.__name__}")
    for name in ("objects", "agents"):
        if not all(isinstance(one, dict) for one in moment[name]):
            raise _wrong(f"moment.{name}", "maps")
    backend.show({**moment, "doors_open": _mask(moment, "doors_open")})
    return {}


def _picture(backend: Backend, asked: dict[str, Any]) -> dict[str, Any]:
    camera, kinds = asked.get("camera"), asked.get("kinds")
    width, height = _pixels(asked, "width"), _pixels(asked, "height")
    if not isinstance(camera, dict):
        raise _wrong("camera", "a map")
    if not isinstance(kinds, list) or not kinds or not all(kind in KINDS for kind in kinds):
        raise _wrong("kinds", f"some of {', '.join(KINDS)}")
    drawn = backend.picture(camera, width, height, kinds)
    return {kind: _image(drawn[kind]) for kind in kinds}


def _image(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"data": array.tobytes(), "shape": list(array.shape), "dtype": array.dtype.name}


_GEOMETRY: dict[str, Callable[[Backend, dict[str, Any]], dict[str, Any]]] = {
    "route": _route,
    "seen_from": _seen_from,
    "line_of_sight": _line_of_sight,
    "doors_at": _doors_at,
    "ahead": _ahead,
    "slide": _slide,
    "room_at": _room_at,
    "slots": _slots,
    "show": _show,
    "picture": _picture,
}


class Session:
    """What is asked over one connection, once it has said hello.

    Args:
        frames: the connection.
        backend: who answers.
    """

    def __init__(self, frames: Frames, backend: Backend) -> None:
        self._frames = frames
        self._backend = backend
        self._loaded = False
        self._ended = False

    def run(self) -> None:
        """Answer until ``bye``, or until the other side closes.

        Raises:
            NoFrame: something that is no question came.
            OSError: the connection broke, or was silent for too long.
        """
        while not self._ended:
            asked = self._frames.read()
            if asked is None:
                return
            number, do = question_of(asked)
            try:
                body = _packed({"id": number, "ok": True, **self._do(do, asked)})
            except Exception as error:
                body = _packed(refusal(number, error))
            _send_body(self._frames.connection, body)

    def _do(self, do: str, asked: dict[str, Any]) -> dict[str, Any]:
        answer = _GEOMETRY.get(do)
        if answer is not None:
            if not self._loaded:
                raise SceneError(f"'{do}' is asked of no scene", "send 'load' first")
            return answer(self._backend, asked)
        if do == "ping":
            return {}
        if do == "bye":
            self._ended = True
            return {}
        if do == "load":
            return self._load(asked)
        known = ", ".join([*_GEOMETRY, "load", "ping", "bye"])
        raise SceneError(f"this worker cannot do '{do[:40]}'", f"ask for one of {known}")

    def _load(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._loaded:
            raise SceneError("a scene is loaded already", "start another worker")
        scene = asked.get("scene")
        if not isinstance(scene, dict):
            raise _wrong("scene", "a map")
        fields = {"home": ("scene_id", "folder"), "dataset": ("scene_id", "config")}.get(_text(scene, "kind"))
        if fields is None:
            raise _wrong("scene.kind", "'home' or 'dataset'")
        wanted = {"kind": scene["kind"], **{name: _text(scene, name) for name in fields}}
        if scene["kind"] == "dataset":
            wanted["annotations"] = _annotations(scene)
        loaded = self._backend.load(wanted)
        self._loaded = True
        return {name: loaded[name] for name in ("scene_id", "description", "anchors")}


def question_of(asked: dict[str, Any]) -> tuple[int, str]:
    """A question's number and what it asks to do.

    Raises:
        NoFrame: it has none.
    """
    number, do = asked.get("id"), asked.get("do")
    if type(number) is not int or not 0 <= number < 2**63 or not isinstance(do, str):
        raise NoFrame("a question has no id, or nothing to do")
    return number, do


def refusal(number: int, error: Exception) -> dict[str, Any]:
    """The answer to a question that ended in an error; one that nobody foresaw is logged too."""
    what, remedy = getattr(error, "what", None), getattr(error, "remedy", "")
    if not isinstance(what, str):
        traceback.print_exc()
        what, remedy = f"{type(error).__name__}: {error}"[:1000], "the worker's log says more"
    # One line each, whatever came from outside is quoted in it.
    told = {"what": " ".join(what.split()), "remedy": " ".join(str(remedy).split())}
    return {"id": number, "ok": False, "error": told}


# --- the process --------------------------------------------------------------------------------------------------


def greet(frames: Frames, token: str, backend: Backend) -> bool:
    """Hear the first question of a connection and answer it; returns whether the other side may go on.

    Raises:
        NoFrame: something that is no question came.
        OSError: the connection broke, or nothing came in time.
    """
    asked = frames.read()
    if asked is None:
        return False
    number, do = question_of(asked)
    try:
        if do != "hello":
            raise SceneError(f"'{do[:40]}' comes before 'hello'", "say hello first")
        if not hmac.compare_digest(_text(asked, "token").encode(), token.encode()):
            raise SceneError("the token is wrong", "send the token the worker was started with")
        if asked.get("protocol") != PROTOCOL:
            raise SceneError(
                f"the client speaks protocol {str(asked.get('protocol'))[:20]}, this worker protocol {PROTOCOL}",
                "take worker and client from the same version of Flywheel",
            )
        answer: dict[str, Any] = {
            "protocol": PROTOCOL,
            "worker_version": WORKER_VERSION,
            "python": platform.python_version(),
            "backend": backend.name,
            "versions": {"numpy": np.__version__, **backend.versions()},
            "capabilities": backend.capabilities(),
        }
    except Exception as error:
        send(frames.connection, refusal(number, error))
        return False
    send(frames.connection, {"id": number, "ok": True, **answer})
    return True


def admit(listener: socket.socket, token: str, backend: Backend, patience_s: float) -> Frames | None:
    """Wait for the connection that knows the token; others are sent away.

    All who have come are heard at the same time, :data:`_WAITING` of them at most; more wait until one of these has
    been sent away, or has said nothing for too long. Once the right one has come, the others' connections end.

    Returns:
        The connection; None where none came within ``patience_s``.
    """
    until = time.monotonic() + patience_s
    waiting: dict[Frames, float] = {}
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        try:
            while (now := time.monotonic()) < until:
                if len(waiting) < _WAITING and listener not in selector.get_map():
                    selector.register(listener, selectors.EVENT_READ)
                ready = selector.select(min([until, *waiting.values()]) - now)
                heard = [key.data for key, _ in ready if key.data is not None]
                for frames in heard:
                    # Asked here, one after another: a backend need not know of threads.
                    welcome = _heard(frames, token, backend)
                    if welcome:
                        selector.unregister(frames.connection)
                        del waiting[frames]
                        frames.connection.setblocking(True)
                        frames.limit = FRAME_BYTES
                        return frames
                    if welcome is not None:
                        waiting[frames] = 0.0
                # By the time before the questions were heard: who spoke in time is not late because we were.
                for frames in [frames for frames, end in waiting.items() if end <= now]:
                    selector.unregister(frames.connection)
                    del waiting[frames]
                    frames.connection.close()
                if len(heard) < len(ready):
                    with contextlib.suppress(OSError):  # gone before it was taken
                        connection, _ = listener.accept()
                        connection.setblocking(False)
                        frames = Frames(connection, _HELLO_BYTES)
                        waiting[frames] = time.monotonic() + _HELLO_S
                        selector.register(connection, selectors.EVENT_READ, frames)
                        if len(waiting) == _WAITING:
                            selector.unregister(listener)
        finally:
            for frames in waiting:
                frames.connection.close()
    return None


def _heard(frames: Frames, token: str, backend: Backend) -> bool | None:
    """Whether a connection may go on; None while its first question has not come whole."""
    try:
        return greet(frames, token, backend)
    except BlockingIOError:
        return None
    except (NoFrame, OSError):
        return False


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _end_with_input(place: str, admitted: list[Frames]) -> None:
    """End when standard input does: whoever holds the other end has died."""
    while os.read(0, _CHUNK):
        pass
    if admitted:
        # The session then ends by itself, unless it is deep in something that takes long.
        _shut(admitted[0].connection)
        time.sleep(_CLOSE_WITHIN_S)
    elif place:
        _tidy(place)
    os._exit(0)


def _first_line() -> str:
    line = b""
    while not line.endswith(b"\n") and len(line) < _HELLO_BYTES:
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line.decode("ascii", "replace").strip()


def _listen(place: str) -> tuple[socket.socket, str]:
    """A listening socket, and its address: ``place`` is a path, or empty for a port of this machine."""
    if place:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(place)
        address = place
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        address = str(listener.getsockname()[1])
    listener.listen(8)
    return listener, address


def _tidy(place: str) -> None:
    """Nobody else is to come: the socket's file goes, and its folder where it holds nothing else."""
    for remove, path in ((os.unlink, place), (os.rmdir, os.path.dirname(place))):
        try:
            remove(path)
        except OSError:
            return


def _make_backend(name: str, gpu: int) -> Backend:
    if name == HabitatBackend.name:
        return HabitatBackend(gpu)
    module, _, kind = name.partition(":")
    made: Backend = getattr(importlib.import_module(module), kind)(gpu)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve one scene to one client."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", default="", help="path of a Unix socket; a port of 127.0.0.1 if none")
    parser.add_argument("--backend", default=HabitatBackend.name, help="habitat, or module:Class")
    parser.add_argument("--gpu", type=int, default=-1, help="graphics card to draw on; -1: none")
    parser.add_argument("--silence", type=float, default=120.0, help="seconds without a question after which it ends")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    token = _first_line()
    if not token:
        print("no token came over standard input", file=sys.stderr)
        return 2
    # Libraries print what they like to standard output; there must be nothing but the address.
    told = os.dup(1)
    os.dup2(2, 1)
    backend = _make_backend(given.backend, given.gpu)
    try:
        listener, address = _listen(given.socket)
        admitted: list[Frames] = []
        try:
            watch = threading.Thread(target=_end_with_input, args=[given.socket, admitted], name="input", daemon=True)
            watch.start()
            os.write(told, f"ready {address}\n".encode())
            os.close(told)
            frames = admit(listener, token, backend, given.silence)
        except BrokenPipeError:
            print("whoever started it is gone", file=sys.stderr)
            return 1
        finally:
            listener.close()
            if given.socket:
                _tidy(given.socket)
        if frames is None:
            print(f"nobody came within {given.silence:g} s", file=sys.stderr)
            return 1
        admitted.append(frames)
        frames.connection.settimeout(given.silence)
        try:
            Session(frames, backend).run()
        except (NoFrame, OSError) as error:
            print(f"the connection ends: {error}", file=sys.stderr)
            return 1
        finally:
            frames.connection.close()
        return 0
    finally:
        backend.close()


if __name__ == "__main__":
    sys.exit(main())
