"""The same recordings through LeRobot's own writer, frame by frame, as its documentation shows."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hitl_ops.contracts.advantage_prompt import advantage_prompt
from hitl_ops.records.encoder_priority import give_up_real_time
from hitl_ops.records.pictures import decode_jpeg
from hitl_ops.records.station_hdf5 import StationEpisode, read_pictures, read_station_episode
from hitl_ops.records.video_encoding import VideoSettings


def stock_features(episode: StationEpisode) -> dict[str, dict[str, Any]]:
    """What LeRobot is told of the columns and cameras."""
    names = list(episode.facts.joint_names)
    vectors = ("observation.state", "action", "observation.velocity", "observation.effort")
    features: dict[str, dict[str, Any]] = {
        name: {"dtype": "float32", "shape": (len(names),), "names": names} for name in vectors
    }
    features["is_intervention"] = {"dtype": "bool", "shape": (1,), "names": None}
    features["advantage"] = {"dtype": "float32", "shape": (1,), "names": None}
    for name, (height, width) in episode.cameras.items():
        features[f"observation.images.{name}"] = {
            "dtype": "video",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        }
    return features


def write_with_lerobot(recordings: Iterable[Path], root: Path, video: VideoSettings | None = None) -> int:
    """Write recordings as a data set with LeRobot; returns the number of frames.

    Args:
        recordings: episodes with a verdict.
        root: the data set's folder.
        video: how pictures are encoded; LeRobot's default where None.
    """
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    logging.getLogger("lerobot").setLevel(logging.ERROR)
    encoder = None
    if video is not None:
        preset: int | str = int(video.preset) if video.preset.isdigit() else video.preset
        encoder = RGBEncoderConfig(vcodec=video.codec, g=video.gop, crf=video.crf, preset=preset)
    dataset: Any = None
    frames = 0
    for path in recordings:
        episode = read_station_episode(path)
        assert episode.qvel is not None
        assert episode.effort is not None
        if dataset is None:
            dataset = LeRobotDataset.create(
                "flywheel/bench",
                fps=int(episode.facts.fps),
                features=stock_features(episode),
                root=root,
                robot_type=episode.facts.robot,
                use_videos=bool(episode.cameras),
                rgb_encoder=encoder,
            )
        task = advantage_prompt(episode.facts.task, bool(episode.facts.advantage))
        advantage = np.array([float(bool(episode.facts.advantage))], np.float32)
        cameras = {name: read_pictures(path, name) for name in episode.cameras}
        for n in range(episode.frames):
            frame = {
                "observation.state": episode.qpos[n],
                "action": episode.action[n],
                "observation.velocity": episode.qvel[n],
                "observation.effort": episode.effort[n],
                "is_intervention": episode.intervention[n : n + 1],
                "advantage": advantage,
                "task": task,
            }
            for name, pictures in cameras.items():
                frame[f"observation.images.{name}"] = decode_jpeg(next(pictures), name)
            dataset.add_frame(frame)
        dataset.save_episode()
        give_up_real_time()
        frames += episode.frames
    dataset.finalize()
    give_up_real_time()
    return frames
