"""Episodes of a station made up for measuring: 14 joints that wave, cameras that see something move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_ops.records.pictures import encode_jpeg
from hitl_ops.records.station_hdf5 import StationFacts, write_station_hdf5

JOINTS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in (*"abcdef", "gripper"))


def made_up_episode(path: Path, frames: int, seed: int, camera: tuple[int, int] | None = None) -> Path:
    """Write one episode, good or bad by turns.

    Args:
        path: the file to make.
        frames: how many, at 50 a second.
        seed: another seed makes another episode.
        camera: (height, width) of its one camera; without one where None.
    """
    chance = np.random.default_rng(seed)
    phase = np.arange(frames)[:, None] / 25 + chance.uniform(0, 6, len(JOINTS))
    moves = {"observations/qpos": np.sin(phase), "observations/qvel": np.cos(phase), "action": np.sin(phase + 0.04)}
    moves["observations/effort"] = 0.3 * np.cos(phase) ** 2
    numbers: dict[str, npt.NDArray[np.generic]] = {
        name: (array + chance.normal(0, 0.003, array.shape)).astype(np.float32) for name, array in moves.items()
    }
    numbers |= {"timestamp": np.arange(frames) / 50, "intervention": np.zeros(frames, bool)}
    facts = StationFacts(
        episode_id=f"{seed:032x}",
        task="Lift the lid off the bowl",
        robot="waving",
        joint_names=JOINTS,
        sim=True,
        advantage=bool(seed % 2),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    cameras = {} if camera is None else {"cam_high": camera}
    pictures = [] if camera is None else [(encode_jpeg(seen),) for seen in made_up_pictures(camera, frames, seed)]
    write_station_hdf5(path, facts, numbers, cameras, pictures, sum(len(one) for (one,) in pictures))
    return path


def made_up_pictures(size: tuple[int, int], frames: int, seed: int) -> list[npt.NDArray[np.uint8]]:
    """A textured table with two things moving over it and a little noise, [height, width, 3] each."""
    height, width = size
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    table = np.stack([120 + 40 * np.sin(rows / 17), 110 + 30 * np.cos(columns / 23), 90 + 0.1 * rows], axis=-1)
    table += chance.normal(0, 6, (height, width, 1))
    pictures = []
    for n in range(frames):
        picture = table + chance.integers(-2, 3, (height, 1, 1))
        for thing in range(2):
            top = int(height * (0.4 + 0.25 * np.sin(n / 30 + thing)))
            left = int(width * (0.4 + 0.3 * np.cos(n / 40 + 2 * thing)))
            picture[top : top + height // 5, left : left + width // 6] = (200 - 90 * thing, 60, 40 + 120 * thing)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures
