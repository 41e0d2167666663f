"""Writing LeRobot data sets of version 3.0, so that a kill at any moment leaves the old one or the new one.

A data set is written beside its place and takes it in one step when it is complete. What is in memory does not grow
with the number of episodes, but for a line of facts each.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.file_lock import unlock_and_close
from hitl_ops.contracts.publish import TEMPORARY_MARK, disk_errors_named, publishing
from hitl_ops.records.lerobot_layout import (
    AUTOMATIC,
    DATA_FILE_MB,
    DATA_PATH,
    EPISODES_PATH,
    FACTS_PATH,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    DatasetInfo,
    arrow_column,
    arrow_schema,
    numpy_column,
    place,
)
from hitl_ops.records.lerobot_stats import Stats, StatsTotal, episode_stats, plain_stats

if TYPE_CHECKING:
    import pyarrow as pa

_EPISODE_ROWS = 64
_FILE_EPISODES = 256
"""A data file with more row groups has a footer that is felt by whoever opens it."""


@dataclass(frozen=True, slots=True)
class VideoPart:
    """Where a camera's pictures of one episode are.

    Attributes:
        path: the mp4 file, outside the data set that is being written.
        start: seconds into the file where the episode begins.
        stop: seconds into the file where it ends.
        stats: of the pictures, if they are known.
        ours: whether nobody else holds the file dear, so that it may be linked instead of copied.
    """

    path: Path
    start: float
    stop: float
    stats: Stats | None = None
    ours: bool = True


@dataclass(slots=True)
class EpisodeData:
    """One episode to be written.

    Attributes:
        columns: every feature kept in the data files, without the automatic ones: an array [T] or [T, n] each, or a
            table that may hold automatic ones too.
        tasks: what was to be done: one for all frames, or one a frame.
        videos: camera → where its pictures are.
        stats: of features whose statistics need not be taken again.
        facts: what else is known of it: see ``FACTS_PATH``.
    """

    columns: Mapping[str, npt.NDArray[Any]] | pa.Table
    tasks: str | Sequence[str]
    videos: Mapping[str, VideoPart] = field(default_factory=dict)
    stats: Mapping[str, Stats] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def writing_dataset(
    target: str | Path, info: DatasetInfo, *, schema: pa.Schema | None = None
) -> Iterator[DatasetWriter]:
    """Write a data set; it stands at ``target``, in place of one that stood there, when the body has ended well.

    Args:
        target: its folder.
        info: rate, robot and features; the totals are counted.
        schema: of the data files; made from the features where None.

    Raises:
        UserError: another process writes the same data set, the folder is no data set, or the disk is full. What stood
            at ``target`` stays as it was.
    """
    with replacing_dataset(target) as temporary, DatasetWriter(temporary, info, schema) as writer:
        yield writer
        writer.close()


@contextlib.contextmanager
def replacing_dataset(target: str | Path) -> Iterator[Path]:
    """Yield a folder to be made beside ``target``, which takes its place when the body has ended well.

    Raises:
        UserError: another process writes the same data set, the folder is no data set, or the disk is full. What stood
            at ``target`` stays as it was.
    """
    place_of = Path(target)
    if place_of.is_dir() and any(place_of.iterdir()) and not (place_of / INFO_PATH).is_file():
        raise UserError(f"'{place_of}' is no LeRobot data set", "name another folder")
    if place_of.is_file():
        raise UserError(f"'{place_of}' is a file", "name a folder")
    with _alone(place_of):
        _clear(place_of)
        with publishing(place_of) as temporary:
            yield temporary


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other writers of the same data set out; the lock goes with its process."""
    lock = target.with_name(f".{target.name}.lock")
    with disk_errors_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed the file just now; then another process may hold a new one.
            taken = not lock.exists() or lock.stat().st_ino != os.fstat(descriptor).st_ino
        except BlockingIOError:
            taken = True
        if taken:
            raise UserError(f"data set '{target}' is being written by another process", "wait for it")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        unlock_and_close(descriptor)


def _clear(target: Path) -> None:
    """Remove what a killed writer left; a data set it was about to replace is put back where it is missing."""
    for leftover in sorted(target.parent.glob(f"{glob.escape(target.name)}{TEMPORARY_MARK}*")):
        if f"{TEMPORARY_MARK}old-" in leftover.name and not target.exists():
            os.rename(leftover, target)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


class DatasetWriter:
    """Writes episodes into a folder that nobody reads yet.

    Args:
        folder: made here.
        info: rate, robot and features.
        schema: of the data files; made from the features where None.
    """

    def __init__(self, folder: Path, info: DatasetInfo, schema: pa.Schema | None = None) -> None:
        self.folder = folder
        self.info = info
        self.schema = arrow_schema(info) if schema is None else schema
        self.episodes = 0
        self.frames = 0
        self._tasks: dict[str, int] = {}
        self._total = StatsTotal()
        self._closed = False
        self._data: Any = None
        self._data_path = folder
        self._data_files = 0
        self._file_from = 0
        self._rows: list[dict[str, Any]] = []
        self._table: Any = None
        self._placed: dict[str, dict[Path, tuple[int, int]]] = {key: {} for key in info.video_keys}
        (folder / "meta").mkdir(parents=True)
        self._facts = open(folder / FACTS_PATH, "w", encoding="utf-8")  # noqa: SIM115  # closed in close()

    def add(self, episode: EpisodeData) -> None:
        """Write the next episode.

        Raises:
            UserError: a feature is missing or has another shape than the data set's, or a camera's video is missing.
        """
        table, arrays, tasks = self._completed(episode)
        length = table.num_rows
        stats = self._statistics(episode, arrays)
        chunk, file = self._write_rows(table)
        row: dict[str, Any] = {
            "episode_index": self.episodes,
            "tasks": list(dict.fromkeys(tasks)),
            "length": length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
        }
        for key in self.info.video_keys:
            if key not in episode.videos:
                raise UserError(f"episode {self.episodes} has no video '{key}'", "convert it with all its cameras")
            part = episode.videos[key]
            chunk, file = self._place_video(key, part)
            row |= {f"videos/{key}/chunk_index": chunk, f"videos/{key}/file_index": file}
            row |= {f"videos/{key}/from_timestamp": part.start, f"videos/{key}/to_timestamp": part.stop}
        row |= {f"stats/{key}/{name}": value.tolist() for key, one in stats.items() for name, value in one.items()}
        self._rows.append({**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        if len(self._rows) == _EPISODE_ROWS:
            self._write_episode_rows()
        self._total.add(stats)
        self._facts.write(json.dumps({"episode_index": self.episodes, **episode.facts}) + "\n")
        self.episodes += 1
        self.frames += length

    def close(self) -> None:
        """Write what says what the data set is; closing twice is harmless.

        Raises:
            UserError: no episode was written.
        """
        import pandas as pd

        if not self.episodes:
            raise UserError(
                "no episode is left for the data set", "check the recordings, their labels and what is excluded"
            )
        self._close_files()
        names = pd.Index(list(self._tasks), name="task")
        pd.DataFrame({"task_index": list(self._tasks.values())}, index=names).to_parquet(self.folder / TASKS_PATH)
        self.info.total_episodes, self.info.total_frames = self.episodes, self.frames
        self.info.total_tasks = len(self._tasks)
        self._write_json(STATS_PATH, plain_stats(self._total.total()))
        self._write_json(INFO_PATH, self.info.plain())
        self._closed = True

    def _completed(self, episode: EpisodeData) -> tuple[pa.Table, dict[str, npt.NDArray[Any]], list[str]]:
        """The episode's rows with the automatic columns; those that statistics are taken of as arrays too."""
        import pyarrow as pa

        given = episode.columns
        if isinstance(given, Mapping):
            names, length = list(given), len(next(iter(given.values())))
        else:
            names, length = given.column_names, given.num_rows
        missing = [key for key in self.info.columns if key not in names and key not in AUTOMATIC]
        if missing:
            raise UserError(f"episode {self.episodes} has no '{missing[0]}'", "all episodes need the same features")
        if not length:
            raise UserError(f"episode {self.episodes} has no frame", "leave it out")
        each = [episode.tasks] * length if isinstance(episode.tasks, str) else list(episode.tasks)
        numbers = [self._tasks.setdefault(task, len(self._tasks)) for task in dict.fromkeys(each)]
        by_name = dict(zip(dict.fromkeys(each), numbers, strict=True))
        counted = np.arange(length)
        arrays: dict[str, npt.NDArray[Any]] = {
            "timestamp": counted / self.info.fps,
            "frame_index": counted,
            "episode_index": np.full(length, self.episodes),
            "index": counted + self.frames,
            "task_index": np.full(length, numbers[0])
            if len(numbers) == 1
            else np.array([by_name[one] for one in each]),
        }
        columns = []
        for column in self.schema:
            if column.name in arrays:
                columns.append(arrow_column(arrays[column.name], column.type))
            elif isinstance(given, Mapping):
                arrays[column.name] = self._checked(column.name, given[column.name], length)
                columns.append(arrow_column(arrays[column.name], column.type))
            else:
                columns.append(given.column(column.name).cast(column.type))
        if not isinstance(given, Mapping):
            for key, feature in self.info.columns.items():
                if key not in arrays and key not in episode.stats and feature.dtype not in ("string", "image"):
                    arrays[key] = numpy_column(given.column(key))
        return pa.Table.from_arrays(columns, schema=self.schema), arrays, each

    def _checked(self, key: str, values: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
        shape = self.info.features[key].shape
        if values.shape != (length, *shape) and (shape != (1,) or values.shape != (length,)):
            raise UserError(
                f"'{key}' of episode {self.episodes} has shape {values.shape}, not {(length, *shape)}",
                "all episodes need the same features",
            )
        return values.reshape(length) if shape == (1,) else values

    def _statistics(self, episode: EpisodeData, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Stats]:
        numbers = {
            key: arrays[key] for key, one in self.info.columns.items() if key in arrays and one.dtype != "string"
        }
        stats = episode_stats(numbers)
        for key in self.info.features:
            part = episode.videos.get(key)
            if part is not None and part.stats is not None:
                stats[key] = part.stats
            elif key in episode.stats and key not in stats:
                stats[key] = episode.stats[key]
        return stats

    def _write_rows(self, table: pa.Table) -> tuple[int, int]:
        """One row group an episode; a new file where the last has grown large."""
        import pyarrow.parquet as pq

        full = self.episodes - self._file_from >= _FILE_EPISODES
        if self._data is not None and (full or self._data_path.stat().st_size >= DATA_FILE_MB << 20):
            self._data.close()
            self._data = None
        if self._data is None:
            chunk, file = place(self._data_files)
            path = self.folder / DATA_PATH.format(chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data_path = path
            indices = [name for name in ("episode_index", "task_index") if name in self.schema.names]
            self._data = pq.ParquetWriter(
                path, self.schema, compression="snappy", use_dictionary=indices, write_statistics=["episode_index"]
            )
            self._data_files += 1
            self._file_from = self.episodes
        self._data.write_table(table, row_group_size=table.num_rows)
        return place(self._data_files - 1)

    def _place_video(self, key: str, part: VideoPart) -> tuple[int, int]:
        placed = self._placed[key]
        if part.path not in placed:
            chunk, file = place(len(placed))
            path = self.folder / VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _link_or_copy(part, path)
            except FileNotFoundError:
                raise UserError(f"video '{part.path}' is missing", "convert the data set again") from None
            placed[part.path] = (chunk, file)
        return placed[part.path]

    def _write_episode_rows(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._rows:
            return
        columns = {name: [row.get(name) for row in self._rows] for name in self._rows[0]}
        if self._table is None:
            table = pa.Table.from_pydict(columns)
            path = self.folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True)
            self._table = pq.ParquetWriter(path, table.schema, compression="snappy")
        else:
            table = pa.Table.from_pydict(columns, schema=self._table.schema)
        self._table.write_table(table)
        self._rows = []

    def _write_json(self, name: str, value: Any) -> None:
        (self.folder / name).write_text(json.dumps(value, indent=4 if name == INFO_PATH else None), encoding="utf-8")

    def _close_files(self) -> None:
        self._write_episode_rows()
        for writer in (self._data, self._table):
            if writer is not None:
                writer.close()
        self._data = self._table = None
        self._facts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # The folder is about to be removed; a disk that is full must not hide why.
            with contextlib.suppress(Exception):
                self._close_files()


def _link_or_copy(part: VideoPart, path: Path) -> None:
    if part.ours:
        # Another file system, or one without links: copied.
        with contextlib.suppress(OSError):
            os.link(part.path, path)
            return
    shutil.copyfile(part.path, path)
