"""Single columns of a LeRobot data set, over all its frames: nothing else is read of its files.

What cannot be used (a missing file or column, an empty cell, NaN) is told with its file, episode and frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_layout import DATA_PATH, INFO_PATH, LEGACY_VERSION, read_json
from hitl_ops.records.lerobot_reading import LEGACY_DATA, LeRobotFolder

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "convert it again from its recordings"


@dataclass(frozen=True, slots=True)
class EpisodeSpan:
    """Which rows are one episode's.

    Attributes:
        index: number of the episode.
        start: index of its first frame in the data set.
        length: frames.
        data: the Parquet file its rows are in.
    """

    index: int
    start: int
    length: int
    data: Path


def episode_spans(folder: LeRobotFolder) -> list[EpisodeSpan]:
    """Where each episode's rows are, in the data set's order; takes no look at statistics or rows.

    Raises:
        UserError: the episodes' table is missing or corrupt.
    """
    found = _legacy_lengths(folder) if folder.info.version == LEGACY_VERSION else _lengths(folder)
    spans, start = [], 0
    for index, length, data in found:
        spans.append(EpisodeSpan(index, start, length, data))
        start += length
    return spans


def frame_named(spans: Sequence[EpisodeSpan], frame: int) -> str:
    """Which episode's which frame the ``frame``-th of the data set is: ``episode 3, frame 17``."""
    starts = np.array([span.start for span in spans])
    span = spans[int(np.searchsorted(starts, frame, side="right")) - 1]
    return f"episode {span.index}, frame {frame - span.start}"


def check_finite(values: npt.NDArray[Any], name: str, spans: Sequence[EpisodeSpan], where: Path | str) -> None:
    """See that every frame has a number.

    Args:
        values: the column ``name``, [N].
        name: of the column.
        spans: the data set's episodes.
        where: what the column was read from.

    Raises:
        UserError: naming the first episode and frame that has NaN or an infinity.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        frame = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UserError(
            f"'{name}' is {values[frame]} in {frame_named(spans, frame)} of '{where}'",
            "mend the column, or leave the episode out",
        )


def read_columns(folder: LeRobotFolder, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Read columns that hold one number a frame.

    Args:
        folder: the data set, version 3.0 or 2.1.
        names: of the columns.

    Returns:
        Column → [N] in the data set's order, of the dtype in its files.

    Raises:
        UserError: a file is missing or corrupt, a column is missing or holds no single numbers, a cell is empty, NaN
            or infinite, or files and episodes disagree in length.
    """
    spans = episode_spans(folder)
    frames = sum(span.length for span in spans)
    found: dict[str, npt.NDArray[Any]] = {}
    for file, group in groupby(spans, key=lambda span: span.data):
        episodes = list(group)
        table = _file_columns(file, names, episodes, check_order=folder.info.version != LEGACY_VERSION)
        start = episodes[0].start
        for name in names:
            values = _numbers(table, name, file, episodes)
            check_finite(values, name, [_moved(span, -start) for span in episodes], file)
            if name not in found:
                found[name] = np.empty(frames, values.dtype)
            elif np.promote_types(found[name].dtype, values.dtype) != found[name].dtype:
                raise UserError(
                    f"'{file}' (episode {episodes[0].index}) has '{name}' as {values.dtype}, not {found[name].dtype}",
                    "all files of a data set need the same columns",
                )
            found[name][start : start + len(values)] = values
    if not frames:
        raise UserError(f"data set '{folder.root}' has no frames", "record episodes first")
    return found


def _moved(span: EpisodeSpan, by: int) -> EpisodeSpan:
    return EpisodeSpan(span.index, span.start + by, span.length, span.data)


def _file_columns(file: Path, names: Sequence[str], episodes: list[EpisodeSpan], *, check_order: bool) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, length = episodes[0], sum(span.length for span in episodes)
    wanted = [*dict.fromkeys(names), *(["episode_index"] if check_order and "episode_index" not in names else [])]
    try:
        with pq.ParquetFile(file) as parquet:
            missing = [name for name in wanted if name not in parquet.schema_arrow.names]
            if missing:
                raise UserError(
                    f"'{file}' (episode {first.index}, from frame 0 on) has no column '{missing[0]}'",
                    f"its columns are {', '.join(parquet.schema_arrow.names)}",
                )
            if parquet.metadata.num_rows != length:
                raise UserError(_length_disagrees(file, episodes, parquet.metadata.num_rows), _REMEDY)
            table = parquet.read(wanted, use_threads=False)
    except FileNotFoundError:
        raise UserError(f"'{file}' with the frames of episode {first.index} is missing", _REMEDY) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"'{file}' with the frames of episode {first.index} is corrupt ({said})", _REMEDY) from None
    if check_order:
        expected = np.repeat([span.index for span in episodes], [span.length for span in episodes])
        given = table.column("episode_index").to_numpy()
        if not np.array_equal(given, expected):
            frame = int(np.flatnonzero(given != expected)[0])
            own = frame_named([_moved(span, -first.start) for span in episodes], frame)
            raise UserError(f"'{file}': {own} is not where it should be", _REMEDY)
    return table


def _length_disagrees(file: Path, episodes: list[EpisodeSpan], rows: int) -> str:
    length = sum(span.length for span in episodes)
    local = [_moved(span, -episodes[0].start) for span in episodes]
    where = frame_named(local, min(rows, length - 1)) if length else f"episode {episodes[0].index}"
    which = f"{where} is not there" if rows < length else f"rows go on behind {where}"
    return f"'{file}' has {rows} rows, not {length}: {which}"


def _numbers(table: pa.Table, name: str, file: Path, episodes: list[EpisodeSpan]) -> npt.NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        flat = pc.list_flatten(column)  # vectors of one number, as some writers keep scalars
        column = flat if len(flat) == table.num_rows and not column.null_count else column
    if column.null_count:
        frame = int(np.flatnonzero(column.is_null().to_numpy())[0])
        local = [_moved(span, -episodes[0].start) for span in episodes]
        raise UserError(f"'{name}' is empty in {frame_named(local, frame)} of '{file}'", "mend the column")
    values: npt.NDArray[Any] = column.to_numpy()
    if values.dtype.kind not in "fiub":
        raise UserError(
            f"'{name}' of '{file}' (episode {episodes[0].index}, frame 0) is {column.type}",
            "name a column with one number a frame",
        )
    return values


def _lengths(folder: LeRobotFolder) -> Iterator[tuple[int, int, Path]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((folder.root / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"data set '{folder.root}' has no table of episodes", _REMEDY)
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                table = parquet.read(names)
                rows = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise UserError(f"'{file}' is corrupt ({' '.join(str(error).split())})", _REMEDY) from None
        for index, length, chunk, number in rows:
            yield index, length, folder.root / DATA_PATH.format(chunk_index=chunk, file_index=number)


def _legacy_lengths(folder: LeRobotFolder) -> Iterator[tuple[int, int, Path]]:
    file = folder.root / "meta" / "episodes.jsonl"
    chunk_size = int(read_json(folder.root / INFO_PATH).get("chunks_size", 1000))
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = sorted((int(line["episode_index"]), int(line["length"])) for line in lines)
    except FileNotFoundError:
        raise UserError(f"'{file}' is missing", _REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{file}' is corrupt ({error})", _REMEDY) from None
    for index, length in found:
        yield index, length, folder.root / LEGACY_DATA.format(chunk=index // chunk_size, episode=index)
