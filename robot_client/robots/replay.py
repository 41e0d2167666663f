"""A recorded episode played back: what a policy would have said to a real robot, without the robot."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, Picture, RobotReading, RobotSpec
from hitl_ops.records.pictures import decode_jpeg
from hitl_ops.records.station_hdf5 import StationEpisode, read_pictures, read_station_episode
from robot_client.robots.robot import CameraFrame, Seen, Stopped, robot_options
from robot_client.station_config import StationConfig


class ReplayOptions(StrictConfig):
    """What the adapter takes."""

    episode: Path = Field(description="The recording to play, *.hdf5.")
    lockstep: bool = Field(default=False, description="Go on with each command instead of with time.")


class ReplayRobot:
    """Perceives what was recorded, frame after frame, and carries nothing out.

    Where a person had the robot in hand, their action comes back as theirs. After the last frame nothing changes any
    more.

    Args:
        episode: the recording.
        spec: the robot as the station uses it.
        lockstep: go on with each command instead of with time.
    """

    simulated = True

    def __init__(self, episode: StationEpisode, spec: RobotSpec, *, lockstep: bool = False) -> None:
        self.spec = spec
        self.lockstep = lockstep
        self._episode = episode
        # As they are in the file: decoded they would fill the memory.
        self._pictures = {camera.name: list(read_pictures(episode.path, camera.name)) for camera in spec.cameras}
        self._began = time.monotonic()
        self._told = 0

    def _picture(self, camera: str, frame: int) -> Picture:
        kept = self._pictures[camera][frame]
        return kept if kept.ndim == 3 else decode_jpeg(kept, f"'{self._episode.path}', camera '{camera}'")

    @property
    def frame(self) -> int:
        """The frame that is perceived now."""
        return min(self._ticks(), self._episode.frames - 1)

    def _ticks(self) -> int:
        return self._told if self.lockstep else int((time.monotonic() - self._began) * self.spec.frequency_hz)

    def reset(self, seed: int, stopped: Stopped) -> None:
        """Begin again with the first frame."""
        self._began, self._told = time.monotonic(), 0

    def observe(self) -> Seen:
        """The present frame."""
        episode, now = self._episode, self.frame
        still = np.zeros(self.spec.dim, np.float32)
        reading = RobotReading(
            position=episode.qpos[now],
            velocity=still if episode.qvel is None else episode.qvel[now],
            effort=still if episode.effort is None else episode.effort[now],
            time=self._ticks() / self.spec.frequency_hz,
            environment_state=None if episode.environment_state is None else episode.environment_state[now],
        )
        frames = {name: CameraFrame(self._picture(name, now)) for name in self._pictures}
        return Seen(reading, frames, episode.action[now] if episode.intervention[now] else None)

    def command(self, action: Float32) -> None:
        """Only time goes on."""
        self._told += 1

    def hold(self) -> None:
        """Nothing moves anyway."""

    def damp(self) -> None:
        """Nothing moves anyway."""

    def success(self) -> bool | None:
        """A recording cannot tell."""
        return None

    def close(self) -> None:
        """Nothing is held."""


def make_robot(config: StationConfig) -> ReplayRobot:
    """The recording the configuration names.

    Raises:
        UserError: it cannot be read, or lacks a camera of the configuration.
    """
    options = robot_options(config, ReplayOptions)
    episode = read_station_episode(options.episode)
    for camera in config.cameras:
        if episode.cameras.get(camera.name) != (camera.height, camera.width):
            has = ", ".join(f"{name} {height}x{width}" for name, (height, width) in episode.cameras.items()) or "none"
            raise UserError(
                f"'{options.episode}' has no camera '{camera.name}' of {camera.height}x{camera.width}",
                f"it has {has}: name those under 'cameras'",
            )
    facts, joints = episode.facts, episode.qpos.shape[1]
    spec = RobotSpec(
        name=facts.robot or "recording",
        joint_names=facts.joint_names or tuple(f"joint_{number}" for number in range(joints)),
        cameras=config.cameras,
        frequency_hz=config.control.frequency_hz,
        gripper_indices=(6, 13) if joints == 14 else (),
        environment_state_names=facts.environment_state_names,
    )
    if spec.dim != joints:
        raise UserError(f"'{options.episode}' names {spec.dim} joints but records {joints}", "choose another recording")
    return ReplayRobot(episode, spec, lockstep=options.lockstep)
