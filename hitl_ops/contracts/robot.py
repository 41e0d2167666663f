"""What a robot is to everyone else: joints, cameras, what it observes and what it is told. NumPy and pydantic only.

Shared by simulated worlds, the policy server, the station client and the records; therefore also the one place where
an observation's and an action's form is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError

Float32 = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


class CameraSpec(StrictConfig):
    """One camera."""

    name: str = Field(min_length=1, description="Key of its pictures in observations and records, such as cam_high.")
    height: int = Field(default=224, ge=8, le=4096, description="Rows of a picture, pixels.")
    width: int = Field(default=224, ge=8, le=4096, description="Columns of a picture, pixels.")


class RobotSpec(StrictConfig):
    """A robot as policies, clients and records know it."""

    name: str = Field(min_length=1, description="Names the robot in metadata and records.")
    joint_names: tuple[str, ...] = Field(min_length=1, description="Names of the joints, in the order of every vector.")
    cameras: tuple[CameraSpec, ...] = Field(default=(), description="Its cameras; empty where only states are used.")
    frequency_hz: float = Field(default=50.0, gt=0, le=1000, description="Actions carried out per second.")
    action_horizon: int = Field(default=50, ge=1, description="Actions in one chunk of a policy's reply.")
    gripper_indices: tuple[int, ...] = Field(
        default=(6, 13), description="Joints that are grippers: 0 is closed, 1 is open; never taken as differences."
    )
    environment_state_names: tuple[str, ...] = Field(
        default=(), description="What a simulated world tells beyond the joints; empty for a real robot."
    )

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for what, names in (
            ("joint", self.joint_names),
            ("camera", tuple(camera.name for camera in self.cameras)),
            ("environment state", self.environment_state_names),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"a {what} name occurs twice")
        if any(not 0 <= index < len(self.joint_names) for index in self.gripper_indices):
            raise ValueError("a gripper index is no joint")
        return self

    @property
    def dim(self) -> int:
        """Number of joints: the length of a state and of an action."""
        return len(self.joint_names)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, in order."""
        return tuple(camera.name for camera in self.cameras)


@dataclass(slots=True)
class RobotReading:
    """What a robot's sensors say at one moment.

    Attributes:
        position: joint positions, [dim] float32: radians, grippers 0 (closed) to 1 (open).
        velocity: joint velocities, [dim] float32, the same units a second.
        effort: what the motors give, [dim] float32: newton metres, grippers newtons.
        time: seconds since the episode began (a simulated world) or since the robot was switched on.
        environment_state: what a simulated world tells beyond the joints, [n] float32; None for a real robot.
    """

    position: Float32
    velocity: Float32
    effort: Float32
    time: float
    environment_state: Float32 | None = None


class RobotWorld(Protocol):
    """A simulated robot with a task: deterministic in the episode's seed and the actions."""

    @property
    def spec(self) -> RobotSpec:
        """The robot in it."""

    @property
    def task(self) -> str:
        """The task in natural language, without an advantage."""

    @property
    def home(self) -> Float32:
        """The starting pose, [dim] float32."""

    @property
    def time_limit(self) -> float:
        """Seconds after which an episode that has not succeeded counts as failed."""

    def reset(self, seed: int) -> RobotReading:
        """Begin the episode of this seed."""

    def tick(self, action: npt.ArrayLike) -> RobotReading:
        """Act for one control step (1 / ``frequency_hz`` seconds).

        Args:
            action: absolute joint targets, [dim].

        Raises:
            UserError: the action has another shape or dtype, or is not finite.
        """

    def success(self) -> bool:
        """Whether the episode has succeeded; once true it stays true until the next reset."""

    def images(self, names: tuple[str, ...] | None = None, size: tuple[int, int] | None = None) -> dict[str, Picture]:
        """Pictures of the present moment, HWC uint8 RGB.

        Args:
            names: which cameras; all of the spec's where None.
            size: (height, width) of all of them; each camera's own where None.

        Raises:
            UserError: there is no camera of such a name.
        """

    def close(self) -> None:
        """Give back what the world holds."""


def check_actions(actions: Any, dim: int, *, horizon: int | None = None, source: str = "the policy") -> Float32:
    """A chunk of actions as float32 [H, dim], or one clear line on why it cannot be carried out.

    Args:
        actions: what came in place of a chunk.
        dim: number of joints.
        horizon: number of actions the chunk must have; any number from 1 where None.
        source: who sent it, named in the error.

    Raises:
        UserError: it is no array of floats, has another shape, or holds NaN or infinity.
    """
    array = _floats(actions, f"actions from {source}")
    wanted = f"({'H' if horizon is None else horizon}, {dim})"
    if array.ndim != 2 or array.shape[1] != dim or array.shape[0] < 1 or horizon not in (None, array.shape[0]):
        raise UserError(
            f"actions from {source} have shape {array.shape}, not {wanted}", "check that the policy is for this robot"
        )
    if not np.isfinite(array).all():
        step, joint = np.argwhere(~np.isfinite(array))[0]
        raise UserError(
            f"actions from {source} hold {array[step, joint]} at step {step}, joint {joint}",
            "check the checkpoint and its norm_stats.json",
        )
    return array


def check_action(action: Any, dim: int, *, source: str = "the policy") -> Float32:
    """One action as float32 [dim].

    Raises:
        UserError: as :func:`check_actions`.
    """
    array = _floats(action, f"action from {source}")
    if array.shape != (dim,):
        raise UserError(
            f"action from {source} has shape {array.shape}, not ({dim},)", "check that the policy is for this robot"
        )
    if not np.isfinite(array).all():
        joint = int(np.argmin(np.isfinite(array)))
        raise UserError(
            f"action from {source} holds {array[joint]} at joint {joint}",
            "check the checkpoint and its norm_stats.json",
        )
    return array


def _floats(value: Any, what: str) -> Float32:
    """``value`` as float32.

    Raises:
        UserError: it is no array of floating-point numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise UserError(f"{what} are no array", "its rows differ in length") from None
    if array.dtype.kind != "f":
        raise UserError(f"{what} have dtype {array.dtype}", "send float32")
    with np.errstate(over="ignore"):  # a float64 too large becomes infinite, which the caller refuses
        return array.astype(np.float32, copy=False)


def check_picture(picture: Any, camera: CameraSpec, *, channels_first: bool = False) -> Picture:
    """A camera's picture as uint8, HWC or CHW as asked, or one clear line on what is wrong with it.

    Raises:
        UserError: it is missing, has another dtype, or another shape than the camera's.
    """
    height, width = camera.height, camera.width
    wanted = (3, height, width) if channels_first else (height, width, 3)
    if picture is None:
        raise UserError(f"camera '{camera.name}' gives no picture", "check its cable and its process")
    array = np.asarray(picture)
    if array.dtype != np.uint8:
        raise UserError(f"pictures of camera '{camera.name}' have dtype {array.dtype}", "send uint8, 0 to 255")
    if array.shape != wanted:
        raise UserError(
            f"pictures of camera '{camera.name}' have shape {array.shape}, not {wanted}",
            "set the camera's height and width in the configuration",
        )
    return array


def policy_observation(
    reading: RobotReading, images: Mapping[str, Picture], prompt: str, *, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An observation as a policy server takes it (openpi's ALOHA form).

    Args:
        reading: the sensors.
        images: camera → HWC uint8 RGB.
        prompt: the task, with or without an advantage.
        extra: further keys.

    Returns:
        ``{"state": float32 [dim], "images": {camera: uint8 CHW}, "prompt": str}``, and ``"environment_state"``
        where the reading has one.
    """
    observation: dict[str, Any] = {
        "state": reading.position,
        "images": {name: np.ascontiguousarray(image.transpose(2, 0, 1)) for name, image in images.items()},
        "prompt": prompt,
    }
    if reading.environment_state is not None:
        observation["environment_state"] = reading.environment_state
    return {**observation, **(extra or {})}


def check_observation(observation: Any, spec: RobotSpec) -> None:
    """Refuse an observation a policy for this robot cannot be asked with.

    Args:
        observation: what came in, in the form of :func:`policy_observation`.
        spec: the robot the policy is for; its cameras are all needed.

    Raises:
        UserError: one line naming the key and what is wrong with it.
    """
    if not isinstance(observation, Mapping):
        raise UserError(f"the observation is {type(observation).__name__}, no map", "send state, images and prompt")
    for key, size in (("state", spec.dim), ("environment_state", len(spec.environment_state_names))):
        if not size:
            continue
        if key not in observation:
            raise UserError(f"the observation has no '{key}'", f"send float32 [{size}]")
        array = _floats(observation[key], f"'{key}' of the observation")
        if array.shape != (size,):
            raise UserError(f"'{key}' of the observation has shape {array.shape}, not ({size},)", "check the robot")
        if not np.isfinite(array).all():
            raise UserError(f"'{key}' of the observation is not finite", "check the robot's sensors")
    if not isinstance(observation.get("prompt", ""), str):
        raise UserError("'prompt' of the observation is no text", 'send the task, such as "Lift the lid off the bowl"')
    images = observation.get("images", {})
    if not isinstance(images, Mapping):
        raise UserError(f"'images' of the observation is {type(images).__name__}, no map", "send camera → picture")
    for camera in spec.cameras:
        check_picture(images.get(camera.name), camera, channels_first=True)
