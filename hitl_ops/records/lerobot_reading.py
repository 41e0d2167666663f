"""Reading LeRobot data sets, version 3.0 and 2.1: episode by episode, without touching a video."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_layout import (
    DATA_PATH,
    FACTS_PATH,
    LEGACY_VERSION,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    DatasetInfo,
    read_info,
    read_json,
)
from hitl_ops.records.lerobot_stats import Stats, stats_from_plain

if TYPE_CHECKING:
    import pyarrow as pa

LEGACY_DATA = "data/chunk-{chunk:03d}/episode_{episode:06d}.parquet"
_LEGACY_VIDEO = "videos/chunk-{chunk:03d}/{key}/episode_{episode:06d}.mp4"
_REMEDY = "convert it again from its recordings"


@dataclass(slots=True)
class EpisodeEntry:
    """What a data set says of one of its episodes.

    Attributes:
        index: its number.
        length: frames.
        tasks: what was to be done.
        data: the Parquet file its rows are in.
        videos: camera → file, seconds where it begins, seconds where it ends.
        stats: feature → statistics.
        facts: what Flywheel noted of it; empty for data sets of others.
    """

    index: int
    length: int
    tasks: list[str]
    data: Path
    videos: dict[str, tuple[Path, float, float]] = field(default_factory=dict)
    stats: dict[str, Stats] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeRobotFolder:
    """A data set as it stands on disk.

    Attributes:
        root: its folder.
        info: what ``info.json`` says.
        tasks: the task of each task index.
    """

    root: Path
    info: DatasetInfo
    tasks: dict[int, str]

    def entries(self) -> Iterator[EpisodeEntry]:
        """What it says of each of its episodes, in order.

        Raises:
            UserError: its episodes' table is missing or corrupt.
        """
        found = _legacy_entries(self) if self.info.version == LEGACY_VERSION else _entries(self)
        facts = _facts(self.root)
        for entry in found:
            entry.facts = facts.get(entry.index, {})
            yield entry

    def episodes(self) -> Iterator[tuple[EpisodeEntry, pa.Table]]:
        """Each episode with its rows; one is in memory at a time.

        Raises:
            UserError: files are missing or corrupt, or rows and episodes do not agree.
        """
        rows = _Rows()
        for entry in self.entries():
            yield entry, rows.next(entry)

    def schema(self) -> pa.Schema:
        """The schema of its data files.

        Raises:
            UserError: there are none.
        """
        for file in data_files(self.root):
            with _opened(file) as parquet:
                return parquet.schema_arrow
        raise UserError(f"data set '{self.root}' has no data files", _REMEDY)


def open_lerobot(root: str | Path) -> LeRobotFolder:
    """Open a data set of version 3.0 or 2.1.

    Raises:
        UserError: it is missing, corrupt or of another version.
    """
    folder = Path(root)
    info = read_info(folder)
    if info.version == LEGACY_VERSION:
        lines = _json_lines(folder / "meta" / "tasks.jsonl")
        return LeRobotFolder(folder, info, {int(line["task_index"]): str(line["task"]) for line in lines})
    with _opened(folder / TASKS_PATH) as parquet:
        table = parquet.read()
    names = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
    if names is None or "task_index" not in table.column_names:
        raise UserError(f"'{folder / TASKS_PATH}' names no tasks", _REMEDY)
    numbered = zip(table.column("task_index").to_pylist(), table.column(names).to_pylist(), strict=True)
    return LeRobotFolder(folder, info, {int(number): str(task) for number, task in numbered})


def data_files(root: Path) -> list[Path]:
    """The Parquet files with the rows, in order."""
    return sorted((root / "data").glob("*/*.parquet"))


def check_dataset(root: str | Path) -> None:
    """Look whether a data set agrees with itself: counts, indices, rows, tasks, statistics, videos.

    Raises:
        UserError: the first thing that does not agree.
    """
    folder = open_lerobot(root)
    episodes = frames = 0
    for entry, table in folder.episodes():
        first = table.column("index")[0].as_py(), table.column("frame_index")[0].as_py()
        if entry.index != episodes or first != (frames, 0) or table.num_rows != entry.length:
            raise UserError(f"data set '{root}': episode {entry.index} does not follow on the one before", _REMEDY)
        unknown = {task for task in table.column("task_index").unique().to_pylist() if task not in folder.tasks}
        if unknown:
            raise UserError(f"data set '{root}': episode {entry.index} has no task {min(unknown)}", _REMEDY)
        for key in folder.info.video_keys:
            if key not in entry.videos or not entry.videos[key][0].is_file():
                raise UserError(f"data set '{root}': episode {entry.index} has no video '{key}'", _REMEDY)
        episodes, frames = episodes + 1, frames + table.num_rows
    rows = 0
    for file in data_files(folder.root):
        with _opened(file) as parquet:
            rows += parquet.metadata.num_rows
    said = folder.info.total_episodes, folder.info.total_frames, folder.info.total_frames
    if (episodes, frames, rows) != said:
        raise UserError(
            f"data set '{root}' has {episodes} episodes, {frames} frames and {rows} rows, not {said}", _REMEDY
        )
    if folder.info.version != LEGACY_VERSION:
        missing = set(folder.info.columns) - set(read_json(folder.root / STATS_PATH))
        missing -= {key for key, feature in folder.info.columns.items() if feature.dtype in ("string", "language")}
        if missing:
            raise UserError(f"data set '{root}' has no statistics of '{min(missing)}'", _REMEDY)


class _Rows:
    """Hands out rows in order, whatever the row groups are."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._batches: Iterator[Any] = iter(())
        self._left: Any = None

    def next(self, entry: EpisodeEntry) -> pa.Table:
        import pyarrow as pa

        if entry.data != self._file:
            self._file, self._left = entry.data, None
            self._batches = _batches(entry.data)
        parts, have = ([self._left], self._left.num_rows) if self._left is not None else ([], 0)
        while have < entry.length:
            batch = next(self._batches, None)
            if batch is None:
                raise UserError(f"'{entry.data}' has too few rows for episode {entry.index}", _REMEDY)
            parts.append(batch)
            have += batch.num_rows
        table = pa.Table.from_batches(parts)
        self._left = None
        if have > entry.length:
            self._left = table.slice(entry.length).combine_chunks().to_batches()[0]
            table = table.slice(0, entry.length)
        if set(table.column("episode_index").unique().to_pylist()) != {entry.index}:
            raise UserError(f"'{entry.data}': the rows of episode {entry.index} are not where they should be", _REMEDY)
        return table


def _batches(file: Path) -> Iterator[Any]:
    with _opened(file) as parquet:
        for group in range(parquet.num_row_groups):
            yield from parquet.read_row_group(group).to_batches()


class _opened:  # reads like a function where it is used
    """A Parquet file; what is wrong with it becomes one line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._parquet: Any = None

    def __enter__(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._parquet = pq.ParquetFile(self._file)
        except FileNotFoundError:
            raise UserError(f"'{self._file}' is missing", _REMEDY) from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"'{self._file}' is corrupt ({' '.join(str(error).split())})", _REMEDY) from None
        return self._parquet

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        import pyarrow as pa

        self._parquet.close()
        if isinstance(error, (pa.ArrowException, OSError)):
            raise UserError(f"'{self._file}' is corrupt ({' '.join(str(error).split())})", _REMEDY) from None


def _entries(folder: LeRobotFolder) -> Iterator[EpisodeEntry]:
    root, videos = folder.root, folder.info.video_keys
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"data set '{root}' has no table of episodes", _REMEDY)
    for file in files:
        for batch in _batches(file):
            for row in batch.to_pylist():
                stats: dict[str, dict[str, Any]] = {}
                for name, value in row.items():
                    if name.startswith("stats/") and value is not None:
                        key, _, stat = name.removeprefix("stats/").rpartition("/")
                        stats.setdefault(key, {})[stat] = value
                data = DATA_PATH.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
                yield EpisodeEntry(
                    index=row["episode_index"],
                    length=row["length"],
                    tasks=row["tasks"],
                    data=root / data,
                    videos={key: _video(root, key, row) for key in videos if f"videos/{key}/file_index" in row},
                    stats=stats_from_plain(stats),
                )


def _video(root: Path, key: str, row: dict[str, Any]) -> tuple[Path, float, float]:
    chunk, file = row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]
    path = root / VIDEO_PATH.format(video_key=key, chunk_index=chunk, file_index=file)
    return path, row[f"videos/{key}/from_timestamp"], row[f"videos/{key}/to_timestamp"]


def _legacy_entries(folder: LeRobotFolder) -> Iterator[EpisodeEntry]:
    root, info = folder.root, folder.info
    chunk_size = int(read_json(root / "meta" / "info.json").get("chunks_size", 1000))
    noted = root / "meta" / "episodes_stats.jsonl"
    stats = {line["episode_index"]: line["stats"] for line in _json_lines(noted)} if noted.is_file() else {}
    lines = sorted(_json_lines(root / "meta" / "episodes.jsonl"), key=lambda line: line["episode_index"])
    for line in lines:
        number, length = int(line["episode_index"]), int(line["length"])
        chunk = number // chunk_size
        yield EpisodeEntry(
            index=number,
            length=length,
            tasks=list(line["tasks"]),
            data=root / LEGACY_DATA.format(chunk=chunk, episode=number),
            videos={
                key: (root / _LEGACY_VIDEO.format(chunk=chunk, key=key, episode=number), 0.0, length / info.fps)
                for key in info.video_keys
            },
            stats=stats_from_plain(stats.get(number, {})),
        )


def _facts(root: Path) -> dict[int, dict[str, Any]]:
    file = root / FACTS_PATH
    if not file.is_file():
        return {}
    return {line.pop("episode_index"): line for line in _json_lines(file)}


def _json_lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f"'{file}' is missing", _REMEDY) from None
    except (OSError, ValueError) as error:
        raise UserError(f"'{file}' is corrupt ({error})", _REMEDY) from None
