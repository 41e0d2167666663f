"""Give the frames of a LeRobot data set other tasks, in the version it has; everything else stays what it is.

Data files are written anew with one column changed: their schema, what other libraries noted in it, their row groups
and their compression stay. Videos and all else are linked. The data set is made beside its place and takes it in one
step, so that a failure or a kill at any moment leaves the old one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.lerobot_columns import EpisodeSpan, episode_spans
from hitl_ops.records.lerobot_dataset import replacing_dataset
from hitl_ops.records.lerobot_layout import INFO_PATH, LEGACY_VERSION, STATS_PATH, TASKS_PATH, read_json
from hitl_ops.records.lerobot_reading import LeRobotFolder
from hitl_ops.records.lerobot_stats import Stats, episode_stats, merged_stats

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN = "task_index"
_EPISODE_LINES = "meta/episodes.jsonl"
_STATS_LINES = "meta/episodes_stats.jsonl"
_TASK_LINES = "meta/tasks.jsonl"
_WORKERS = 4
_REMEDY = "convert it again from its recordings"


def relabel_tasks(
    folder: LeRobotFolder,
    labels: npt.NDArray[np.int32],
    tasks: Sequence[str],
    out: str | Path | None = None,
    progress: Progress = silent,
) -> None:
    """Write a data set with the same frames and other tasks.

    Version 2.1 gets ``task_index`` as int32 and ``meta/tasks.jsonl``, as kai0's ``gt_label.py`` writes them; version
    3.0 keeps its column's type and gets ``meta/tasks.parquet``. What episodes' tables and statistics say of the tasks
    goes with them in both.

    Args:
        folder: the data set, version 3.0 or 2.1.
        labels: the task index of each frame, [N].
        tasks: the task of each index.
        out: where to; in place by default.
        progress: told after each data file.

    Raises:
        UserError: a file is missing, corrupt or lacks the column, ``out`` is no data set, or the disk is full. The
            data set, and what stood at ``out``, stay as they were.
    """
    source = folder.root.resolve()
    target = source if out is None else Path(out).resolve()
    if target != source and (source in target.parents or target in source.parents):
        raise UserError(f"'{target}' and data set '{source}' lie one in the other", "name a folder beside it")
    legacy = folder.info.version == LEGACY_VERSION
    spans = episode_spans(LeRobotFolder(source, folder.info, folder.tasks))
    frames = sum(span.length for span in spans)
    if labels.shape != (frames,):
        raise UserError(f"data set '{source}' has {frames} frames", f"{len(labels)} labels do not fit it")
    change = _Change(source, legacy, spans, labels, list(tasks))
    with replacing_dataset(target) as temporary:
        _link_folder(source, temporary, Path(), change.paths(), in_place=target == source)
        _rewrite_data(change, temporary, progress)
        (_rewrite_legacy_meta if legacy else _rewrite_meta)(change, temporary)


@dataclass(frozen=True, slots=True)
class _Change:
    """What is written anew, and of what."""

    source: Path
    legacy: bool
    spans: list[EpisodeSpan]
    labels: npt.NDArray[np.int32]
    tasks: list[str]

    def paths(self) -> set[Path]:
        """What is not linked, below the data set's folder."""
        names = [_EPISODE_LINES, _STATS_LINES, _TASK_LINES] if self.legacy else [TASKS_PATH]
        files = {span.data for span in self.spans} | set(self.tables())
        return {Path(name) for name in (INFO_PATH, STATS_PATH, *names)} | {
            file.relative_to(self.source) for file in files
        }

    def tables(self) -> list[Path]:
        """The episodes' tables of version 3.0."""
        return [] if self.legacy else sorted((self.source / "meta" / "episodes").glob("*/*.parquet"))

    def of(self, span: EpisodeSpan) -> npt.NDArray[np.int32]:
        """The labels of an episode."""
        return self.labels[span.start : span.start + span.length]

    def told(self, span: EpisodeSpan) -> list[str]:
        """The tasks of an episode, in order of appearance."""
        found, first = np.unique(self.of(span), return_index=True)
        return [self.tasks[int(label)] for label in found[np.argsort(first)]]


def _link_folder(source: Path, out: Path, below: Path, but: set[Path], *, in_place: bool) -> None:
    """Link all files of a folder, but those that are written anew."""
    (out / below).mkdir()
    above = {parent for path in but for parent in path.parents}
    with os.scandir(source / below) as entries:
        for entry in entries:
            path = below / entry.name
            if path in but:
                continue
            if entry.is_dir() and (path in above or not entry.is_symlink()):
                _link_folder(source, out, path, but, in_place=in_place)
            elif entry.is_symlink() and in_place:
                os.symlink(os.readlink(entry.path), out / path)
            elif entry.is_dir():
                os.symlink(os.path.realpath(entry.path), out / path)
            else:
                _link_file(os.path.realpath(entry.path), out / path)


def _link_file(file: str, link: Path) -> None:
    # Another file system, or one without links: copied.
    with contextlib.suppress(OSError):
        os.link(file, link)
        return
    try:
        shutil.copyfile(file, link)
    except FileNotFoundError:
        raise UserError(f"'{file}' is missing", _REMEDY) from None


def _rewrite_data(change: _Change, out: Path, progress: Progress) -> None:
    """The data files, several at a time; the first that fails ends it."""
    groups = [list(group) for _, group in groupby(change.spans, key=lambda span: span.data)]
    for parent in {group[0].data.parent for group in groups}:
        (out / parent.relative_to(change.source)).mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(min(_WORKERS, len(os.sched_getaffinity(0))))
    try:
        waiting = [pool.submit(_rewrite_file, change, group, out) for group in groups]
        for done, future in enumerate(as_completed(waiting), 1):
            future.result()
            progress(done, len(groups), "files")
    finally:
        pool.shutdown(cancel_futures=True)


def _rewrite_file(change: _Change, episodes: list[EpisodeSpan], out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file, start = episodes[0].data, episodes[0].start
    with _reading(file, episodes[0].index):
        opened = pq.ParquetFile(file)
    with opened as parquet:
        schema, meta = parquet.schema_arrow, parquet.metadata
        if COLUMN not in schema.names:
            raise UserError(
                f"'{file}' (episode {episodes[0].index}, from frame 0 on) has no column '{COLUMN}'", _REMEDY
            )
        frames = sum(span.length for span in episodes)
        if meta.num_rows != frames:
            raise UserError(f"'{file}' (episode {episodes[0].index}) has {meta.num_rows} rows, not {frames}", _REMEDY)
        number = schema.names.index(COLUMN)
        kind = pa.int32() if change.legacy else schema.field(number).type
        schema = schema.set(number, schema.field(number).with_type(kind))
        with pq.ParquetWriter(out / file.relative_to(change.source), schema, **_kept(meta)) as writer:
            for group in range(meta.num_row_groups):
                with _reading(file, episodes[0].index):
                    table = parquet.read_row_group(group, use_threads=False)
                labels = change.labels[start : start + table.num_rows]
                start += table.num_rows
                column = pa.array(labels).cast(kind)
                table = table.set_column(number, schema.field(number), column)
                writer.write_table(table, row_group_size=max(table.num_rows, 1))


def _kept(meta: Any) -> dict[str, Any]:
    """How the columns of a file are written: compression, dictionaries and statistics as they were.

    Dictionaries of floats are left out: they hardly ever repeat, and looking for it takes half of the time.
    """
    if not meta.num_row_groups:
        return {}
    group = meta.row_group(0)
    chunks = [group.column(number) for number in range(group.num_columns)]
    codec = chunks[0].compression.lower()
    return {
        "compression": {"uncompressed": "none", "lz4_raw": "lz4"}.get(codec, codec),
        "use_dictionary": [
            one.path_in_schema
            for one in chunks
            if one.has_dictionary_page and one.physical_type not in ("FLOAT", "DOUBLE")
        ],
        "write_statistics": [one.path_in_schema for one in chunks if one.is_stats_set],
    }


@contextlib.contextmanager
def _reading(file: Path, episode: int) -> Iterator[None]:
    """What is wrong with a file becomes one line."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise UserError(f"'{file}' with the frames of episode {episode} is missing", _REMEDY) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"'{file}' with the frames of episode {episode} is corrupt ({said})", _REMEDY) from None


def _rewrite_legacy_meta(change: _Change, out: Path) -> None:
    lines = [{"task_index": number, "task": task} for number, task in enumerate(change.tasks)]
    (out / _TASK_LINES).write_text(_json_lines(lines), encoding="utf-8")
    spans = {span.index: span for span in change.spans}
    stats = {index: _label_stats(change, span) for index, span in spans.items()}

    def tasks_told(line: dict[str, Any]) -> None:
        line["tasks"] = change.told(spans[line["episode_index"]])

    def stats_told(line: dict[str, Any]) -> None:
        _put_stats(line["stats"], stats[line["episode_index"]])

    _edit_lines(change, out, _EPISODE_LINES, tasks_told)
    if (change.source / _STATS_LINES).is_file():
        _edit_lines(change, out, _STATS_LINES, stats_told)
    _rewrite_totals(change, out, list(stats.values()))


def _edit_lines(change: _Change, out: Path, name: str, edit: Callable[[dict[str, Any]], None]) -> None:
    file = change.source / name
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        for line in lines:
            edit(line)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{file}' is corrupt ({type(error).__name__}: {error})", _REMEDY) from None
    (out / name).write_text(_json_lines(lines), encoding="utf-8")


def _json_lines(lines: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _rewrite_meta(change: _Change, out: Path) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    names = pd.Index(change.tasks, name="task")
    pd.DataFrame({COLUMN: range(len(change.tasks))}, index=names).to_parquet(out / TASKS_PATH)
    all_stats: list[Stats] = []
    spans = {span.index: span for span in change.spans}
    for file in change.tables():
        with _reading(file, change.spans[0].index):
            opened = pq.ParquetFile(file)
        with opened as parquet:
            meta, schema = parquet.metadata, parquet.schema_arrow
            copy = out / file.relative_to(change.source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with pq.ParquetWriter(copy, schema, **_kept(meta)) as writer:
                for group in range(meta.num_row_groups):
                    with _reading(file, change.spans[0].index):
                        table = parquet.read_row_group(group)
                    own = [spans[index] for index in table.column("episode_index").to_pylist()]
                    stats = [_label_stats(change, span) for span in own]
                    all_stats += stats
                    writer.write_table(_edited(table, [change.told(span) for span in own], stats))
    _rewrite_totals(change, out, all_stats)


def _edited(table: pa.Table, tasks: list[list[str]], stats: list[Stats]) -> pa.Table:
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        prefix, _, name = field.name.rpartition("/")
        if field.name == "tasks":
            table = table.set_column(number, field, pa.array(tasks, field.type))
        elif prefix == f"stats/{COLUMN}" and name in stats[0]:
            table = table.set_column(number, field, pa.array([one[name].tolist() for one in stats], field.type))
    return table


def _label_stats(change: _Change, span: EpisodeSpan) -> Stats:
    return episode_stats({COLUMN: change.of(span).astype(np.int64)})[COLUMN]


def _put_stats(stats: dict[str, dict[str, Any]], found: Stats) -> None:
    """Put in what is said of the task index; version 2.1 has no quantiles."""
    if COLUMN in stats:
        stats[COLUMN] |= {name: value.tolist() for name, value in found.items() if name in stats[COLUMN]}


def _rewrite_totals(change: _Change, out: Path, stats: list[Stats]) -> None:
    if (change.source / STATS_PATH).is_file():
        total = read_json(change.source / STATS_PATH)
        _put_stats(total, merged_stats(stats))
        (out / STATS_PATH).write_text(json.dumps(total, ensure_ascii=False), encoding="utf-8")
    info = read_json(change.source / INFO_PATH) | {"total_tasks": len(change.tasks)}
    (out / INFO_PATH).write_text(json.dumps(info, indent=4, ensure_ascii=False), encoding="utf-8")
