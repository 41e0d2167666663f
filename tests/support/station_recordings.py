"""Recordings of a station for tests: a robot that waves, and cameras that see where."""

from __future__ import annotations

import itertools
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.robot import CameraSpec, RobotSpec
from hitl_ops.records.station_episode import StationEpisodeWriter
from hitl_ops.records.station_hdf5 import Verdict

TASK = "Lift the lid off the bowl"
JOINTS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in (*"abcdef", "gripper"))


def robot(*cameras: str, size: tuple[int, int] = (48, 64), environment: int = 0) -> RobotSpec:
    """A robot with 14 joints and small cameras."""
    return RobotSpec(
        name="waving",
        joint_names=JOINTS,
        cameras=tuple(CameraSpec(name=name, height=size[0], width=size[1]) for name in cameras),
        environment_state_names=tuple(f"lid_{n}" for n in range(environment)),
    )


def picture(height: int, width: int, moment: float) -> npt.NDArray[np.uint8]:
    """What a camera sees: smooth colours, and a bright square that moves."""
    rows, columns = np.mgrid[0:height, 0:width]
    shades = [rows * 200 / height, columns * 200 / width, (rows + columns + 40 * moment) % 200]
    image = np.stack(shades, axis=-1).astype(np.uint8)
    left = int((width - 8) * (0.5 + 0.5 * np.sin(moment)))
    image[height // 2 : height // 2 + 8, left : left + 8] = 255
    return image


def vectors(spec: RobotSpec, frames: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Smooth movements of all joints, [frames, joints] each."""
    chance = np.random.default_rng(seed)
    phase = np.arange(frames)[:, None] / 25 + chance.uniform(0, 6, spec.dim)
    qpos = np.sin(phase) + chance.normal(0, 0.01, phase.shape)
    told = {"qpos": qpos, "qvel": np.cos(phase), "effort": 0.3 * np.cos(phase) ** 2, "action": np.sin(phase + 0.04)}
    width = len(spec.environment_state_names)
    if width:
        told["environment_state"] = np.sin(phase[:, :1] + np.arange(width))
    return {name: array.astype(np.float32) for name, array in told.items()}


def record(
    path: Path,
    frames: int = 30,
    *,
    spec: RobotSpec | None = None,
    label: Verdict | None = "good",
    aborted: bool = False,
    intervened: slice | None = None,
    seed: int = 0,
    task: str = TASK,
    episode_id: str | None = None,
) -> Path:
    """Record an episode through the writer a station uses."""
    spec = spec or robot()
    moves = vectors(spec, frames, seed)
    by_hand = np.zeros(frames, bool)
    by_hand[intervened or slice(0, 0)] = True
    writer = StationEpisodeWriter(path, spec, task, "policy-1", 3, sim=True, episode_id=episode_id)
    for n in range(frames):
        images = {one.name: picture(one.height, one.width, seed + n / 25) for one in spec.cameras}
        told = {name: array[n] for name, array in moves.items()}
        writer.add(**told, images=images, timestamp=n / 50, intervention=bool(by_hand[n]))
    return writer.abort("stopped") or path if aborted else writer.finish(label, success=label == "good")


def record_without_end(path: Path, told: Connection) -> None:
    """Record at 50 Hz with a camera until killed; send how many frames were taken in."""
    spec = robot("cam_high")
    writer = StationEpisodeWriter(path, spec, TASK, "policy-1", 0)
    still = np.zeros(spec.dim, np.float32)
    started = time.monotonic()
    for n in itertools.count():
        writer.add(np.full(spec.dim, n), still, still, still, {"cam_high": picture(48, 64, n)}, n / 50)
        told.send((n + 1, time.monotonic()))
        time.sleep(max(0.0, started + (n + 1) / 50 - time.monotonic()))
