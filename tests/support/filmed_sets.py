"""Small LeRobot data sets with real videos, in which every frame shows which frame of which episode it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hitl_ops.records.lerobot_dataset import EpisodeData, VideoPart, writing_dataset
from hitl_ops.records.lerobot_layout import ACTION, STATE, DatasetInfo, camera, scalar, vector, with_automatic
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.video_encoding import VideoSettings, encode_video

FPS = 50
CAMERAS = ("observation.images.cam_high", "observation.images.cam_left_wrist")
JOINTS = 3
_SIDE = 48
_CELL = 12
_BITS = 16


def picture(number: int) -> npt.NDArray[np.uint8]:
    """A picture in whose 16 cells a number stands in black and white; survives any codec and any size."""
    bits = (number >> np.arange(_BITS)) & 1
    cells = np.where(bits, 230, 25).astype(np.uint8).reshape(4, 4)
    return np.repeat(np.kron(cells, np.ones((_CELL, _CELL), np.uint8))[:, :, None], 3, axis=2)


def number_in(image: npt.NDArray[np.uint8]) -> int:
    """The number that a picture of any size shows."""
    height, width = image.shape[0] // 4, image.shape[1] // 4
    middles = image[height // 2 :: height, width // 2 :: width, 0][:4, :4].reshape(-1)
    return int(((middles > 128) << np.arange(_BITS)).sum())


def shown(episode: int, frame: int, camera_number: int = 0) -> int:
    """The number that a frame shows."""
    return episode * 1024 + frame * 2 + camera_number


def make_filmed_set(
    root: Path,
    lengths: Sequence[int],
    *,
    together: bool = True,
    gop: int = 2,
    columns: Mapping[str, npt.NDArray[Any]] | None = None,
    task: str = "lift the lid",
) -> LeRobotFolder:
    """Write a data set of version 3.0 with two cameras.

    Args:
        root: its folder.
        lengths: frames of each episode, below 512.
        together: whether a camera's episodes share one file, as LeRobot writes them, or have one each.
        gop: frames from one key frame to the next.
        columns: further ones, one number a frame of the whole data set.
        task: of all frames.
    """
    films = root.parent / f"{root.name}-films"
    settings = VideoSettings(gop=gop)
    parts: dict[str, list[VideoPart]] = {}
    for number, key in enumerate(CAMERAS):
        pictures = [[picture(shown(n, t, number)) for t in range(length)] for n, length in enumerate(lengths)]
        if together:
            film = films / f"{key}.mp4"
            ends = np.cumsum([0, *lengths]) / FPS
            stats = encode_video(_all(pictures), sum(lengths), film, FPS, settings, "test").stats
            parts[key] = [VideoPart(film, ends[n], ends[n + 1], stats) for n in range(len(lengths))]
        else:
            parts[key] = []
            for n, length in enumerate(lengths):
                film = films / key / f"{n}.mp4"
                stats = encode_video(pictures[n], length, film, FPS, settings, "test").stats
                parts[key].append(VideoPart(film, 0.0, length / FPS, stats))
    names = [f"joint_{n}" for n in range(JOINTS)]
    further = dict(columns or {})
    features = {STATE: vector(names), ACTION: vector(names)} | {key: camera(_SIDE, _SIDE) for key in CAMERAS}
    features |= {name: scalar(str(values.dtype)) for name, values in further.items()}
    start = 0
    with writing_dataset(root, DatasetInfo(FPS, with_automatic(features), "made_up")) as writer:
        for n, length in enumerate(lengths):
            phase = (np.arange(length)[:, None] / 20 + n + np.arange(JOINTS)).astype(np.float32)
            rows = {STATE: np.sin(phase), ACTION: np.cos(phase)}
            rows |= {name: values[start : start + length] for name, values in further.items()}
            writer.add(EpisodeData(rows, task, {key: parts[key][n] for key in CAMERAS}))
            start += length
    shutil.rmtree(films)
    return open_lerobot(root)


def _all(episodes: list[list[npt.NDArray[np.uint8]]]) -> Iterator[npt.NDArray[np.uint8]]:
    for pictures in episodes:
        yield from pictures


def as_version_2_1(folder: LeRobotFolder, root: Path) -> LeRobotFolder:
    """Lay a data set whose episodes have a file each out as version 2.1 did."""
    (root / "meta").mkdir(parents=True)
    episodes = []
    for entry, table in folder.episodes():
        data = root / f"data/chunk-000/episode_{entry.index:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, data)
        for key, (path, _, _) in entry.videos.items():
            video = root / f"videos/chunk-000/{key}/episode_{entry.index:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, video)
        episodes.append({"episode_index": entry.index, "tasks": entry.tasks, "length": entry.length})
    tasks = [{"task_index": number, "task": task} for number, task in folder.tasks.items()]
    for name, lines in (("episodes", episodes), ("tasks", tasks)):
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    info = folder.info.plain() | {"codebase_version": "v2.1", "total_chunks": 1, "total_videos": len(episodes)}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (root / "meta/info.json").write_text(json.dumps(info))
    return open_lerobot(root)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
