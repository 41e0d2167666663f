"""AI2-THOR's own pictures for official games, from a Unity build that the user has.

AI2-THOR by itself downloads some 800 MB when it starts; that never happens here: the build is named. Only official
games can be shown, for generated rooms are no scenes. The scene follows the text game: what a command did there is
done in it by force, and where it cannot be, that is said instead of showing something untrue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.alfworld.engine import read_task_file
from hitl_ops.worlds.text_commands import TextCommand

RENDER_PIXELS = 300
"""What ALFRED's pictures measure; other sizes are scaled from it."""
_GRID = 0.25  # metres, of ALFRED's places
_PLACE = re.compile(r"loc\|(-?\d+)\|(-?\d+)\|(-?\d+)\|(-?\d+)")


class ThorPictures:
    """Shows the state of a game in AI2-THOR.

    Args:
        executable: the Unity build, ``local_executable_path`` of AI2-THOR's controller.
        make_controller: AI2-THOR's ``Controller``; by default the installed package's.

    Raises:
        UserError: the build is not there, or the package ai2thor is not installed.
    """

    def __init__(self, executable: Path, make_controller: Callable[..., Any] | None = None) -> None:
        if not executable.is_file():
            raise UserError(f"there is no AI2-THOR build '{executable}'", "set thor_executable to the Unity program")
        self._make_controller = make_controller or _installed_controller()
        self._executable = executable
        self._controller: Any = None
        self._ids: Mapping[str, str] = {}
        self._objects: dict[str, str] = {}

    def begin(self, folder: Path, ids: Mapping[str, str]) -> None:
        """Set up the scene of a game.

        Args:
            folder: the game's folder.
            ids: the problem's id of everything, by the name that is said.

        Raises:
            UserError: the game is generated, or the build does not start or refuses.
        """
        scene = read_task_file(folder).get("scene")
        if not isinstance(scene, dict) or "floor_plan" not in scene:
            raise UserError(f"game '{folder.name}' has no AI2-THOR scene", "generated games need pictures=schematic")
        if self._controller is None:
            self._controller = self._start()
        self._controller.reset(scene=scene["floor_plan"])
        if scene.get("object_toggles"):
            self._do("SetObjectToggles", objectToggles=scene["object_toggles"])
        if scene.get("object_poses"):
            self._do("SetObjectPoses", objectPoses=scene["object_poses"])
        if isinstance(scene.get("init_action"), dict):
            self._do(**scene["init_action"])
        self._ids = ids
        self._objects = {one["objectId"].lower(): one["objectId"] for one in self._metadata["objects"]}

    def _start(self) -> Any:
        try:
            return self._make_controller(
                local_executable_path=str(self._executable), width=RENDER_PIXELS, height=RENDER_PIXELS
            )
        except Exception as error:  # Unity, its display and its pipes fail in many ways
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"AI2-THOR build '{self._executable}' does not start", reason) from None

    @property
    def _metadata(self) -> Mapping[str, Any]:
        if self._controller is None:
            raise RuntimeError("no game was begun")
        metadata: Mapping[str, Any] = self._controller.last_event.metadata
        return metadata

    def _do(self, action: str, **arguments: Any) -> None:
        self._controller.step(action=action, **arguments)
        if not self._metadata.get("lastActionSuccess", False):
            reason = self._metadata.get("errorMessage") or "no reason given"
            raise UserError(f"AI2-THOR refused '{action}': {reason}", "play this game with pictures=schematic")

    def follow(self, command: TextCommand, place: str) -> None:
        """Do in the scene what a command did in the game; warmth and cleanness are not seen.

        Args:
            command: one that something came of.
            place: the problem's id of where the agent stands now.

        Raises:
            UserError: AI2-THOR has no such thing, or refuses.
        """
        if command.verb == "go":
            x, z, heading, tilt = parse_place(place)
            height = self._metadata["agent"]["position"]["y"]
            self._do(
                "TeleportFull",
                **{"x": x * _GRID, "y": height, "z": z * _GRID},
                rotation={"x": 0, "y": heading * 90, "z": 0},
                horizon=tilt,
                standing=True,
                forceAction=True,
            )
        elif command.verb == "put":
            self._do("PutObject", objectId=self._object(command.place), forceAction=True, placeStationary=True)
        elif command.verb in _ACTIONS:
            self._do(_ACTIONS[command.verb], objectId=self._object(command.thing), forceAction=True)

    def _object(self, name: str) -> str:
        """AI2-THOR's id of what is said so; the engine's ids are lower case."""
        wanted = thor_id(self._ids.get(name, name))
        if wanted not in self._objects:
            raise UserError(f"the AI2-THOR scene has no '{name}' ({wanted})", "use the build the games were made with")
        return self._objects[wanted]

    def picture(self, size: int) -> NDArray[np.uint8]:
        """What AI2-THOR's camera sees now, uint8 [size, size, 3]."""
        if self._controller is None:
            raise RuntimeError("no game was begun")
        frame = Image.fromarray(np.asarray(self._controller.last_event.frame, dtype=np.uint8)[..., :3])
        return np.asarray(frame.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)

    def close(self) -> None:
        """Stop the build."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None


_ACTIONS = {
    "open": "OpenObject",
    "close": "CloseObject",
    "take": "PickupObject",
    "use": "ToggleObjectOn",
    "slice": "SliceObject",
}


def _installed_controller() -> Callable[..., Any]:
    try:
        from ai2thor.controller import Controller  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise UserError("pictures=thor needs AI2-THOR (no module 'ai2thor')", "pip install ai2thor==5.0.0") from None
    made: Callable[..., Any] = Controller
    return made


def thor_id(name: str) -> str:
    """A problem's id as AI2-THOR writes it, all in lower case."""
    for word, mark in (("_bar_", "|"), ("_plus_", "+"), ("_minus_", "-"), ("_dot_", ".")):
        name = name.replace(word, mark)
    return name.lower()


def parse_place(place: str) -> tuple[int, int, int, int]:
    """A place's id as x and z in quarter metres, heading in quarter turns, tilt of the head in degrees.

    Raises:
        UserError: it is no place of ALFRED's.
    """
    found = _PLACE.fullmatch(thor_id(place))
    if found is None:
        raise UserError(f"'{place}' is no place of ALFRED's", "play this game with pictures=schematic")
    x, z, heading, tilt = (int(part) for part in found.groups())
    return x, z, heading, tilt
