"""What the station client asks of a robot. Whoever has another robot writes these few methods for it.

An adapter of one's own is named in the configuration as ``package.module:function``; the function takes the station's
configuration and returns the robot::

    robot:
      adapter: "my_lab.arms:make_robot"
      options: {port: /dev/ttyUSB0}

Everything but :meth:`Robot.reset` is called from the 50 Hz loop or must be safe beside it, and must not wait: read
sensors and cameras in threads of the adapter's own and hand out the newest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hitl_ops.contracts.config import StrictConfig, parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture, RobotReading, RobotSpec
from robot_client.station_config import StationConfig

Stopped = Callable[[], bool]
OptionsT = TypeVar("OptionsT", bound=StrictConfig)


class RobotFault(UserError):
    """The robot, or a camera of it, does not do what it should; the robot is to hold."""


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """A camera's newest picture.

    Attributes:
        picture: HWC uint8 RGB.
        age_s: how long ago it was taken, seconds.
    """

    picture: Picture
    age_s: float = 0.0


@dataclass(slots=True)
class Seen:
    """What a robot perceives at one moment; its arrays are not written to afterwards.

    Attributes:
        reading: its joints.
        frames: each camera's newest picture; a camera that gave none is missing.
        taken_over: what a person commands in place of the policy now, [dim]; None while the policy acts.
    """

    reading: RobotReading
    frames: dict[str, CameraFrame] = field(default_factory=dict)
    taken_over: Float32 | None = None


class Robot(Protocol):
    """A robot at a station.

    Every method may raise :class:`RobotFault`, whose one line says what is wrong.
    """

    @property
    def spec(self) -> RobotSpec:
        """Its joints, and the cameras that are used."""

    @property
    def simulated(self) -> bool:
        """Whether it is a simulation; recordings say so."""

    @property
    def lockstep(self) -> bool:
        """Whether its time stands still between two commands. A real robot's never does."""

    def reset(self, seed: int, stopped: Stopped) -> None:
        """Move to the starting pose and stay there; waits until it is reached.

        Args:
            seed: which scene a simulated world sets up; a real robot has no use for it.
            stopped: whether somebody wants it to stop; then it holds where it is and this returns at once.
        """

    def observe(self) -> Seen:
        """What it perceives now."""

    def command(self, action: Float32) -> None:
        """Go towards absolute joint targets, [dim]."""

    def hold(self) -> None:
        """Stay where it is, stiff, until the next command; safe to call at any moment, and again."""

    def damp(self) -> None:
        """Let go, softly, so that a person can move it by hand, until :meth:`hold`."""

    def success(self) -> bool | None:
        """Whether the task is done, where a simulated world can tell; None elsewhere."""

    def close(self) -> None:
        """Hold, and let go of the connection; twice is harmless."""


def robot_options(config: StationConfig, options: type[OptionsT]) -> OptionsT:
    """The configuration's ``robot.options`` as an adapter's own.

    Raises:
        UserError: a key is unknown or a value is out of range.
    """
    return parse_config(options, config.robot.options, source=f"robot.options of '{config.robot.adapter}'")


def make_robot(config: StationConfig) -> Robot:
    """The robot the configuration names.

    Raises:
        UserError: there is no such adapter, its options are wrong, or the robot cannot be reached.
    """
    name = config.robot.adapter
    known = {
        "bimanual": "robot_client.robots.simulated:make_robot",
        "aloha": "robot_client.robots.simulated:make_robot",
        "replay": "robot_client.robots.replay:make_robot",
        "unitree_h1": "robot_client.robots.unitree_h1:make_robot",
        "lerobot": "robot_client.robots.lerobot_robot:make_robot",
    }
    place = known.get(name, name)
    module, separator, function = place.partition(":")
    if not separator:
        raise UserError(
            f"robot adapter '{name}' is unknown",
            f"choose {', '.join(known)}, or name one's own as package.module:function",
        )
    try:
        make: Callable[[StationConfig], Robot] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"robot adapter '{name}' cannot be loaded ({error})", "check robot.adapter") from None
    if name in known:
        return make(config)
    from robot_client.robots.guarded import GuardedRobot, mistakes_named

    with mistakes_named(name):
        return GuardedRobot(make(config), name)
