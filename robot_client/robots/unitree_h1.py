"""Unitree's H1-2 by its own SDK: fourteen arm joints over DDS, pictures from the robot's image server.

Needs ``unitree_sdk2py``, and ``pyzmq`` where cameras are used. The arms are driven beside the robot's own balance
controller (topic ``rt/arm_sdk``, with a weight that is raised and lowered slowly). The adapter sends at 250 Hz from a
thread; joint targets are approached no faster than ``joint_speed``.

The image server sends one JPEG with all cameras side by side, the head's first; the configuration's cameras name
them from left to right.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from typing import Any

import numpy as np
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import CameraSpec, Float32, Picture, RobotReading, RobotSpec
from hitl_ops.records.pictures import decode_jpeg
from robot_client.robots.gliding import glide
from robot_client.robots.robot import CameraFrame, RobotFault, Seen, Stopped, robot_options
from robot_client.station_config import StationConfig

_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "elbow_roll", "wrist_pitch", "wrist_yaw")
JOINTS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in _ARM)
_MOTORS = tuple(range(13, 27))
_WRISTS = (4, 5, 6, 11, 12, 13)
_WEIGHT_MOTOR = 27
_HZ = 250.0
_STALE_S = 0.2
_WEIGHT_S = 1.0
_DAMPING = 2.0


class UnitreeOptions(StrictConfig):
    """What the adapter takes."""

    network_interface: str = Field(default="", description="Interface the robot is reached by, such as eth0.")
    domain: int = Field(default=0, ge=0, le=232, description="DDS domain.")
    image_server: str = Field(default="tcp://192.168.123.163:5555", description="The robot's image server.")
    starting_pose: tuple[float, ...] = Field(
        default=(0.0,) * 14, min_length=14, max_length=14, description="Joints of the starting pose, radians."
    )
    reset_s: float = Field(default=4.0, gt=0, description="Seconds the way to the starting pose takes.")
    tolerance: float = Field(default=0.15, gt=0, description="How near to the starting pose is near enough, radians.")
    joint_speed: float = Field(default=4.0, gt=0, le=20, description="Largest speed of a joint, radians a second.")
    stiffness: float = Field(default=140.0, gt=0, description="Gain on a joint's position.")
    wrist_stiffness: float = Field(default=50.0, gt=0, description="The same for the wrists.")
    damping: float = Field(default=3.0, gt=0, description="Gain on a joint's speed.")


class UnitreeH1:
    """An H1-2's arms.

    Args:
        options: the adapter's.
        spec: the joints and the cameras used.
        sdk: Unitree's modules.

    Raises:
        RobotFault: the robot says nothing.
    """

    simulated = False
    lockstep = False

    def __init__(self, options: UnitreeOptions, spec: RobotSpec, sdk: _Sdk) -> None:
        self.spec = spec
        self._options = options
        self._crc = sdk.crc
        self._message = sdk.message
        self._lock = threading.Lock()
        self._state: tuple[float, Float32, Float32, Float32] | None = None
        self._target: Float32 | None = None
        self._sent: Float32 = np.zeros(14, np.float32)
        self._soft = False
        self._weight, self._wanted_weight = 0.0, 0.0
        self._began = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="unitree", daemon=True)
        self._subscriber = sdk.subscriber
        self._publisher = sdk.publisher
        self._publisher.Init()
        self._subscriber.Init(self._take_in, 10)
        self._cameras = _ImageStream(options.image_server, spec.cameras) if spec.cameras else None
        deadline = time.monotonic() + 5
        while self._state is None:
            if time.monotonic() > deadline:
                self._closing.set()
                self._close_cameras()
                raise RobotFault("the H1-2 says nothing", "check robot.options.network_interface and that it is on")
            time.sleep(0.02)
        with self._lock:
            self._sent = self._state[1].copy()
        self._thread.start()

    def reset(self, seed: int, stopped: Stopped) -> None:
        """Glide to the starting pose."""
        pose = np.array(self._options.starting_pose, np.float32)
        glide(
            self._position,
            self.command,
            pose,
            seconds=self._options.reset_s,
            tolerance=self._options.tolerance,
            stopped=stopped,
        )

    def observe(self) -> Seen:
        """The newest state and pictures."""
        with self._lock:
            state = self._state
        assert state is not None
        at, position, velocity, effort = state
        age = time.monotonic() - at
        if age > _STALE_S:
            raise RobotFault(f"the H1-2 has said nothing for {age:.1f} s", "check its network")
        frames = self._cameras.frames() if self._cameras is not None else {}
        return Seen(RobotReading(position, velocity, effort, at - self._began), frames)

    def command(self, action: Float32) -> None:
        """Go there."""
        with self._lock:
            self._target, self._soft, self._wanted_weight = action, False, 1.0

    def hold(self) -> None:
        """Stay where the arms are, stiff."""
        with self._lock:
            if self._state is not None:
                self._target, self._soft, self._wanted_weight = self._state[1].copy(), False, 1.0

    def damp(self) -> None:
        """Only brake, so that a person can move the arms."""
        with self._lock:
            self._soft, self._wanted_weight = True, 1.0

    def success(self) -> bool | None:
        """A real robot cannot tell."""
        return None

    def close(self) -> None:
        """Hold, then give the arms back to the robot's own controller, slowly."""
        if self._closing.is_set():
            return
        self.hold()
        with self._lock:
            self._wanted_weight = 0.0
        deadline = time.monotonic() + 2 * _WEIGHT_S
        while self._weight > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        self._closing.set()
        self._thread.join(2)
        self._close_cameras()
        for channel in (self._subscriber, self._publisher):
            with contextlib.suppress(Exception):  # DDS objects to being closed in many ways, none of which matter now
                channel.Close()

    def _close_cameras(self) -> None:
        if self._cameras is not None:
            self._cameras.close()

    def _position(self) -> Float32:
        return self.observe().reading.position

    def _take_in(self, message: Any) -> None:
        motors = [message.motor_state[motor] for motor in _MOTORS]
        position, velocity, effort = (
            np.array([getattr(motor, name) for motor in motors], np.float32) for name in ("q", "dq", "tau_est")
        )
        if self._state is None:
            self._message.mode_machine = message.mode_machine
        with self._lock:
            self._state = (time.monotonic(), position, velocity, effort)

    def _work(self) -> None:
        period = 1 / _HZ
        due = time.monotonic()
        while not self._closing.is_set():
            self._send(period)
            due += period
            remaining = due - time.monotonic()
            if remaining > 0:
                time.sleep(remaining)
            else:
                due = time.monotonic()

    def _send(self, period: float) -> None:
        options = self._options
        with self._lock:
            state, target, soft, wanted = self._state, self._target, self._soft, self._wanted_weight
        assert state is not None
        if soft or target is None:
            self._sent = state[1].copy()
        else:
            step = options.joint_speed * period
            self._sent = self._sent + np.clip(target - self._sent, -step, step)
        for index, motor in enumerate(_MOTORS):
            command = self._message.motor_cmd[motor]
            command.mode = 1
            command.q, command.dq, command.tau = float(self._sent[index]), 0.0, 0.0
            stiffness = options.wrist_stiffness if index in _WRISTS else options.stiffness
            command.kp = 0.0 if soft else stiffness
            command.kd = _DAMPING if soft else options.damping
        change = period / _WEIGHT_S
        self._weight = float(np.clip(wanted, self._weight - change, self._weight + change))
        self._message.motor_cmd[_WEIGHT_MOTOR].q = self._weight
        self._message.crc = self._crc.Crc(self._message)
        self._publisher.Write(self._message)


class _ImageStream:
    """The newest picture of the robot's image server, cut into cameras.

    Args:
        address: where it sends from.
        cameras: from left to right.

    Raises:
        UserError: pyzmq is not installed.
    """

    def __init__(self, address: str, cameras: tuple[CameraSpec, ...]) -> None:
        try:
            self._zmq: Any = importlib.import_module("zmq")
        except ImportError:
            raise UserError("the H1-2's cameras need pyzmq", "pip install pyzmq, or leave out 'cameras'") from None
        self._cameras = cameras
        self._newest: tuple[float, bytes] | None = None
        self._decoded: tuple[bytes, dict[str, Picture]] | None = None
        self._closing = threading.Event()
        self._socket = self._zmq.Context.instance().socket(self._zmq.SUB)
        self._socket.setsockopt(self._zmq.CONFLATE, 1)
        self._socket.setsockopt(self._zmq.RCVTIMEO, 200)
        self._socket.setsockopt(self._zmq.SUBSCRIBE, b"")
        self._socket.connect(address)
        self._thread = threading.Thread(target=self._work, name="unitree images", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                content = self._socket.recv()
            except self._zmq.Again:
                continue
            # Some servers put time and number in front of the JPEG.
            start = content.find(b"\xff\xd8\xff", 0, 32)
            self._newest = (time.monotonic(), content[max(0, start) :])
        self._socket.close(0)

    def frames(self) -> dict[str, CameraFrame]:
        """Each camera's newest picture; none before the first.

        Raises:
            RobotFault: what comes is no picture, or of another size.
        """
        newest = self._newest
        if newest is None:
            return {}
        at, content = newest
        if self._decoded is None or self._decoded[0] is not content:
            self._decoded = (content, self._cut(content))
        age = time.monotonic() - at
        return {name: CameraFrame(picture, age) for name, picture in self._decoded[1].items()}

    def _cut(self, content: bytes) -> dict[str, Picture]:
        try:
            whole = decode_jpeg(content, "the image server's picture")
        except UserError as error:
            raise RobotFault(str(error), "check the image server") from None
        wanted = (max(camera.height for camera in self._cameras), sum(camera.width for camera in self._cameras))
        if whole.shape[:2] != wanted:
            raise RobotFault(
                f"the image server sends {whole.shape[1]}x{whole.shape[0]}, the cameras are {wanted[1]}x{wanted[0]}",
                "name all its cameras from left to right",
            )
        pictures, left = {}, 0
        for camera in self._cameras:
            pictures[camera.name] = np.ascontiguousarray(whole[: camera.height, left : left + camera.width])
            left += camera.width
        return pictures

    def close(self) -> None:
        """End."""
        self._closing.set()
        self._thread.join(2)


class _Sdk:
    """What is used of Unitree's SDK.

    Args:
        options: the adapter's.

    Raises:
        UserError: it is not installed, or the network interface is not there.
    """

    def __init__(self, options: UnitreeOptions) -> None:
        try:
            channel = importlib.import_module("unitree_sdk2py.core.channel")
            default = importlib.import_module("unitree_sdk2py.idl.default")
            messages = importlib.import_module("unitree_sdk2py.idl.unitree_hg.msg.dds_")
            crc = importlib.import_module("unitree_sdk2py.utils.crc")
        except ImportError as error:
            raise UserError(
                f"the unitree_h1 adapter needs Unitree's SDK ({error})", "install unitree_sdk2py on the station"
            ) from None
        try:
            channel.ChannelFactoryInitialize(options.domain, *filter(None, [options.network_interface]))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"DDS cannot be started ({reason})", "check robot.options.network_interface") from None
        self.publisher = channel.ChannelPublisher("rt/arm_sdk", messages.LowCmd_)
        self.subscriber = channel.ChannelSubscriber("rt/lowstate", messages.LowState_)
        self.message = default.unitree_hg_msg_dds__LowCmd_()
        self.message.mode_pr = 0
        self.crc = crc.CRC()


def make_robot(config: StationConfig) -> UnitreeH1:
    """The H1-2 as the configuration wants it.

    Raises:
        UserError: the SDK is not installed, or the robot says nothing.
    """
    options = robot_options(config, UnitreeOptions)
    spec = RobotSpec(
        name="unitree_h1_2",
        joint_names=JOINTS,
        cameras=config.cameras,
        frequency_hz=config.control.frequency_hz,
        gripper_indices=(),
    )
    return UnitreeH1(options, spec, _Sdk(options))
