"""Any robot LeRobot drives, its plugins included: SO-100 and SO-101 pairs, OpenArm, Koch, and one's own classes.

::

    robot:
      adapter: lerobot
      options:
        type: bi_so_follower
        config:
          left_arm_config: {port: /dev/ttyACM0}
          right_arm_config: {port: /dev/ttyACM1}

Joints are the robot's ``….pos`` values in LeRobot's own units and order.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import threading
import time
from typing import Any

import numpy as np
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotReading, RobotSpec
from robot_client.robots.gliding import glide
from robot_client.robots.robot import CameraFrame, RobotFault, Seen, Stopped, robot_options
from robot_client.station_config import StationConfig

_STALE_S = 0.5
_AGAIN_S = 0.2
_POSITION = ".pos"


class LeRobotOptions(StrictConfig):
    """What the adapter takes."""

    type: str = Field(min_length=1, description="LeRobot's name of the robot, such as bi_so_follower.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="Its configuration, as LeRobot's own tools take it."
    )
    modules: tuple[str, ...] = Field(default=(), description="Modules that register robots of one's own.")
    starting_pose: tuple[float, ...] | None = Field(
        default=None, description="Joints of the starting pose, in order; by default where the robot is at the start."
    )
    reset_s: float = Field(default=3.0, gt=0, description="Seconds the way to the starting pose takes.")
    tolerance: float = Field(default=5.0, gt=0, description="How near to the starting pose is near enough.")


class LeRobotRobot:
    """A LeRobot robot behind the station's protocol.

    A thread reads sensors and sends targets in turn, because such robots' buses take one talker at a time.

    Args:
        device: LeRobot's object, connected.
        spec: its joints and the cameras used.
        options: the adapter's.

    Raises:
        RobotFault: it gives no reading.
    """

    simulated = False
    lockstep = False

    def __init__(self, device: Any, spec: RobotSpec, options: LeRobotOptions) -> None:
        self.spec = spec
        self._device = device
        self._options = options
        self._keys = [f"{name}{_POSITION}" for name in spec.joint_names]
        self._lock = threading.Lock()
        self._target: Float32 | None = None
        self._soft = False
        self._seen: Seen | None = None
        self._seen_at = 0.0
        self._fault = "it has said nothing yet"
        self._closing = threading.Event()
        self._first = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="lerobot", daemon=True)
        self._thread.start()
        if not self._first.wait(10):
            fault = self._fault
            self.close()
            raise RobotFault(f"robot '{options.type}' gives no reading ({fault})", "check its power and its cables")
        start = options.starting_pose
        self._start = self._position() if start is None else np.array(start, np.float32)

    def _position(self) -> Float32:
        return self.observe().reading.position

    def reset(self, seed: int, stopped: Stopped) -> None:
        """Glide to the starting pose."""
        glide(
            self._position,
            self.command,
            self._start,
            seconds=self._options.reset_s,
            tolerance=self._options.tolerance,
            stopped=stopped,
        )

    def observe(self) -> Seen:
        """The newest reading and pictures."""
        with self._lock:
            seen, age, fault = self._seen, time.monotonic() - self._seen_at, self._fault
        if seen is None or age > _STALE_S:
            raise RobotFault(f"robot '{self._options.type}' gives no reading ({fault})", "check its cables")
        return Seen(seen.reading, {name: CameraFrame(frame.picture, age) for name, frame in seen.frames.items()})

    def command(self, action: Float32) -> None:
        """Go there with the next exchange."""
        with self._lock:
            self._target, self._soft = action, False

    def hold(self) -> None:
        """Stay: joints where they are, grippers as they were told."""
        with self._lock:
            if self._seen is None:
                return
            target = self._seen.reading.position.copy()
            if self._target is not None:
                grippers = list(self.spec.gripper_indices)
                target[grippers] = self._target[grippers]
            self._target, self._soft = target, False

    def damp(self) -> None:
        """Switch the motors off.

        Raises:
            RobotFault: this robot has no motors of LeRobot's that could be.
        """
        if not self._buses():
            raise RobotFault(f"robot '{self._options.type}' cannot let go", "move it by its own means")
        with self._lock:
            self._target, self._soft = None, True

    def success(self) -> bool | None:
        """A real robot cannot tell."""
        return None

    def close(self) -> None:
        """Hold, and let go of the connection."""
        self.hold()
        if not self._closing.is_set():
            time.sleep(2 / self.spec.frequency_hz)  # the last target still goes out
            self._closing.set()
            self._thread.join(5)
            with contextlib.suppress(Exception):  # a robot that has gone cannot be taken leave of
                self._device.disconnect()

    def _buses(self) -> list[Any]:
        arms = (self._device, getattr(self._device, "left_arm", None), getattr(self._device, "right_arm", None))
        found = (getattr(arm, "bus", None) for arm in arms)
        return [bus for bus in found if hasattr(bus, "disable_torque") and hasattr(bus, "enable_torque")]

    def _work(self) -> None:
        period, limp = 1 / self.spec.frequency_hz, False
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._take_in(self._device.get_observation())
                with self._lock:
                    target, soft = self._target, self._soft
                if soft != limp:
                    for bus in self._buses():
                        bus.disable_torque() if soft else bus.enable_torque()
                    limp = soft
                if target is not None:
                    self._device.send_action(dict(zip(self._keys, map(float, target), strict=True)))
            except Exception as error:  # every robot's library has its own
                with self._lock:
                    self._fault = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                self._closing.wait(_AGAIN_S)
            self._closing.wait(max(0.0, period - (time.monotonic() - began)))

    def _take_in(self, observation: dict[str, Any]) -> None:
        now = time.monotonic()
        position = np.array([observation[key] for key in self._keys], np.float32)
        frames = {name: CameraFrame(np.asarray(observation[name])) for name in self.spec.camera_names}
        with self._lock:
            velocity = np.zeros_like(position)
            if self._seen is not None and now > self._seen_at:
                velocity = (position - self._seen.reading.position) / np.float32(now - self._seen_at)
            reading = RobotReading(position, velocity, np.zeros_like(position), now - self._began)
            self._seen, self._seen_at = Seen(reading, frames), now
        self._first.set()


def make_robot(config: StationConfig) -> LeRobotRobot:
    """The LeRobot robot the configuration names.

    Raises:
        UserError: LeRobot is not installed, there is no such robot, or it cannot be connected.
    """
    options = robot_options(config, LeRobotOptions)
    device = _device(options)
    joints = tuple(name.removesuffix(_POSITION) for name in device.action_features if name.endswith(_POSITION))
    if options.starting_pose is not None and len(options.starting_pose) != len(joints):
        raise UserError(f"robot.options.starting_pose has {len(options.starting_pose)} joints, not {len(joints)}", "")
    for camera in config.cameras:
        shape = device.observation_features.get(camera.name)
        if shape != (camera.height, camera.width, 3):
            raise UserError(
                f"robot '{options.type}' has no camera '{camera.name}' of {camera.height}x{camera.width}",
                "name it in robot.options.config.cameras",
            )
    spec = RobotSpec(
        name=options.type,
        joint_names=joints,
        cameras=config.cameras,
        frequency_hz=config.control.frequency_hz,
        gripper_indices=tuple(index for index, name in enumerate(joints) if "gripper" in name),
    )
    try:
        device.connect(calibrate=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RobotFault(f"robot '{options.type}' cannot be connected ({reason})", "check its power and port") from None
    return LeRobotRobot(device, spec, options)


def _device(options: LeRobotOptions) -> Any:
    """LeRobot's own object.

    Raises:
        UserError: LeRobot is not installed, or does not know the robot or its configuration.
    """
    try:
        robots = importlib.import_module("lerobot.robots")
        draccus = importlib.import_module("draccus")
    except ImportError as error:
        raise UserError(f"the lerobot adapter needs LeRobot ({error})", "pip install 'lerobot>=0.6.1,<0.7'") from None
    for name in options.modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UserError(f"module '{name}' cannot be loaded ({error})", "check robot.options.modules") from None
    for module in pkgutil.iter_modules(robots.__path__):
        # A robot is known once its package is loaded, which takes seconds each: no further than needed.
        if options.type in robots.RobotConfig.get_known_choices():
            break
        with contextlib.suppress(ImportError):  # a robot whose driver is not installed here
            importlib.import_module(f"lerobot.robots.{module.name}")
    known = robots.RobotConfig.get_known_choices()
    if options.type not in known:
        raise UserError(f"LeRobot has no robot '{options.type}'", f"it has {', '.join(sorted(known))}")
    try:
        made = draccus.decode(robots.RobotConfig, {"type": options.type, **options.config})
        if hasattr(made, "disable_torque_on_disconnect"):
            # An emergency exit must not drop what the robot holds.
            made.disable_torque_on_disconnect = False
        return robots.make_robot_from_config(made)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"robot '{options.type}' cannot be made ({reason})", "check robot.options.config") from None
