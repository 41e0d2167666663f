"""Small made-up LeRobot data sets of both versions, with whatever columns a test wants; written without lerobot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hitl_ops.records.lerobot_dataset import EpisodeData, VideoPart, writing_dataset
from hitl_ops.records.lerobot_layout import (
    ACTION,
    STATE,
    DatasetInfo,
    arrow_column,
    arrow_schema,
    camera,
    scalar,
    vector,
    with_automatic,
)
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.lerobot_stats import episode_stats

FPS = 50
CAMERA = "observation.images.cam_high"
Columns = Mapping[str, npt.NDArray[Any]]


def make_set(
    root: Path,
    lengths: Sequence[int],
    columns: Columns,
    *,
    version: str = "v2.1",
    task: str = "fold the cloth",
    dims: int = 2,
    videos: bool = False,
) -> LeRobotFolder:
    """Write a data set.

    Args:
        root: its folder.
        lengths: frames of each episode.
        columns: further columns, one number a frame of the whole data set; state and action are made up.
        version: of the format.
        task: of all frames.
        dims: numbers in a state and in an action.
        videos: whether there is a camera; its files hold no pictures.
    """
    names = [f"joint_{n}" for n in range(dims)]
    features = {STATE: vector(names), ACTION: vector(names)}
    features |= {name: scalar(str(values.dtype)) for name, values in columns.items()}
    if videos:
        features[CAMERA] = camera(4, 4)
    info = DatasetInfo(FPS, with_automatic(features), "made_up", total_episodes=len(lengths), total_tasks=1)
    info.total_frames = sum(lengths)
    ends = np.cumsum(lengths)
    parts = []
    for end, length in zip(ends, lengths, strict=True):
        rows = np.arange(end - length, end)
        made = {name: (rows[:, None] + np.arange(dims)).astype(np.float32) for name in (STATE, ACTION)}
        parts.append(made | {name: values[rows] for name, values in columns.items()})
    if version == "v2.1":
        _write_legacy(root, info, parts, task)
    else:
        with writing_dataset(root, info) as writer:
            for number, part in enumerate(parts):
                clips = {}
                if videos:
                    clip = root.parent / f"{root.name}-clip-{number}.mp4"
                    clip.write_bytes(b"clip %d" % number)
                    stats = episode_stats({"": np.zeros((3, 3), np.float32)})[""]
                    shaped = {key: one.reshape(3, 1, 1) if key != "count" else one for key, one in stats.items()}
                    clips[CAMERA] = VideoPart(clip, 0.0, lengths[number] / FPS, shaped, ours=False)
                writer.add(EpisodeData(part, task, clips))
    return open_lerobot(root)


def _write_legacy(root: Path, info: DatasetInfo, parts: list[dict[str, npt.NDArray[Any]]], task: str) -> None:
    schema = arrow_schema(info)
    (root / "meta").mkdir(parents=True)
    episodes, stats, start = [], [], 0
    for number, part in enumerate(parts):
        length = len(part[STATE])
        counted = np.arange(length)
        all_columns = part | {
            "timestamp": counted / FPS,
            "frame_index": counted,
            "episode_index": np.full(length, number),
            "index": counted + start,
            "task_index": np.zeros(length, np.int64),
        }
        start += length
        file = legacy_file(root, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        arrays = [arrow_column(np.asarray(all_columns[field.name]), field.type) for field in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)
        for key in info.video_keys:
            video = root / f"videos/chunk-000/{key}/episode_{number:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            video.write_bytes(b"clip %d" % number)
        episodes.append({"episode_index": number, "tasks": [task], "length": length})
        known = episode_stats({key: np.asarray(value) for key, value in all_columns.items()})
        plain = {
            key: {name: value.tolist() for name, value in one.items() if not name.startswith("q")}
            for key, one in known.items()
        }
        stats.append({"episode_index": number, "stats": plain})
    tasks = [{"task_index": 0, "task": task}]
    for name, lines in (("episodes", episodes), ("episodes_stats", stats), ("tasks", tasks)):
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = info.plain() | {"codebase_version": "v2.1", "total_chunks": 1, "total_videos": 0}
    said["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    said["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (root / "meta/info.json").write_text(json.dumps(said, indent=4))


def legacy_file(root: Path, episode: int) -> Path:
    """Where version 2.1 keeps an episode's rows."""
    return root / f"data/chunk-000/episode_{episode:06d}.parquet"


def rewrite_column(file: Path, name: str, values: npt.NDArray[Any] | None) -> None:
    """Put other values into a column of a Parquet file, or take it out."""
    table = pq.read_table(file)
    number = table.column_names.index(name)
    table = table.remove_column(number) if values is None else table.set_column(number, name, pa.array(values))
    pq.write_table(table, file)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
