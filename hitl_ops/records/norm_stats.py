"""``norm_stats.json`` in openpi's format, from HDF5 or LeRobot, exact, and without opening a video.

Mean and deviation are those of the population; quantiles are interpolated linearly between the two nearest values, as
``numpy.quantile`` does. The values a quantile lies between are found without sorting: a first pass counts values by
their leading bits, a second looks at those in the few bins that matter. So memory does not grow with the frames; what
fits into little of it is read once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_text

FILE_NAME = "norm_stats.json"
LOW, HIGH = 0.01, 0.99
_CHUNK = 1 << 16
_KEPT_BYTES = 64 << 20
_BATCH = 1 << 13
_BINS = 1 << 16
_BINS_WORTHWHILE = 1 << 16
# Of floating-point numbers read as integers the negative ones come last, the largest of them first.
_ORDER = np.concatenate((np.arange(_BINS - 1, _BINS // 2 - 1, -1), np.arange(_BINS // 2)))
_REMEDY = "check the path, or compute it again"


Chunks = Callable[[], Iterable[npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class NormStats:
    """Statistics of one vector over all frames, [n] float64 each; quantiles None where a file has none."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    q01: npt.NDArray[np.float64] | None
    q99: npt.NDArray[np.float64] | None


def norm_stats(chunks: Chunks, *, keep: int = _KEPT_BYTES) -> NormStats:
    """Statistics of a vector over all frames, in two passes.

    Args:
        chunks: gives the frames anew each time it is called, [n, dimensions] a chunk, always the same dimensions.
        keep: bytes of frames that may be kept in memory, so that they need not be read twice.

    Raises:
        UserError: there are no frames, or a value is not finite.
    """
    kept = _kept_where_small(chunks, keep)
    if kept is not None and sum(map(len, kept)) <= _BINS_WORTHWHILE:
        return _of_few(_joined(kept) if kept else np.empty((0, 0)))
    if kept is not None:
        chunks = partial(iter, kept)
    first = next(iter(chunks()))
    # Sums are taken of differences to the first frame: those are small where a joint hardly moves.
    origin = first[0].astype(np.float64)
    dimensions, count = first.shape[1], 0
    sums, squares = np.zeros(dimensions), np.zeros(dimensions)
    bins = np.zeros((dimensions, _BINS), np.uint32)
    for chunk in chunks():
        count += len(chunk)
        columns = np.ascontiguousarray(chunk.T)
        for dimension, column in enumerate(columns):
            difference = column.astype(np.float64)
            difference -= origin[dimension]
            sums[dimension] += difference.sum()
            squares[dimension] += np.dot(difference, difference)
            bins[dimension] += np.bincount(_leading_bits(column), minlength=_BINS).astype(np.uint32)
    _refuse_unless_finite(sums)
    means = sums / count
    ranks = sorted({rank for share in (LOW, HIGH) for rank in _ranks(share, count)})
    found = _ranked(chunks, bins, ranks)
    low, high = ([_between(one, share, count) for one in found] for share in (LOW, HIGH))
    std = np.sqrt(np.maximum(squares / count - means**2, 0.0))
    return NormStats(origin + means, std, np.array(low), np.array(high))


def _kept_where_small(chunks: Chunks, most: int) -> list[npt.NDArray[Any]] | None:
    """The chunks, where they fit into memory without being noticed: they need not be read twice then."""
    kept: list[npt.NDArray[Any]] = []
    for chunk in chunks():
        kept.append(chunk)
        if sum(one.nbytes for one in kept) > most:
            return None
    return kept


def _of_few(values: npt.NDArray[Any]) -> NormStats:
    """As :func:`norm_stats`, of frames that are so few that counting them would cost more."""
    if values.ndim != 2 or not values.size:
        raise UserError(f"there is nothing to take statistics of: shape {values.shape}", "name recordings with frames")
    exact = values.astype(np.float64)
    _refuse_unless_finite(exact.sum(axis=0))
    low, high = np.quantile(exact, (LOW, HIGH), axis=0)
    return NormStats(exact.mean(axis=0), exact.std(axis=0), low, high)


def _refuse_unless_finite(sums: npt.NDArray[np.float64]) -> None:
    if not np.isfinite(sums).all():
        dimension = int(np.argmin(np.isfinite(sums)))
        raise UserError(f"dimension {dimension} holds values that are not finite", "leave that episode out")


def _leading_bits(column: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Sign, exponent and the first digits of each value: as a number, a bin that needs no range."""
    words = column.view(np.uint16)
    per_value = column.itemsize // 2
    return words[(per_value - 1 if sys.byteorder == "little" else 0) :: per_value]


def _ranks(share: float, count: int) -> tuple[int, int]:
    """The two values, counted from the smallest, that a quantile lies between."""
    lower = int(share * (count - 1))
    return lower, min(lower + 1, count - 1)


def _ranked(chunks: Chunks, bins: npt.NDArray[np.uint32], ranks: list[int]) -> list[dict[int, float]]:
    """The values of some ranks in each dimension, out of the few bins they lie in.

    Args:
        chunks: as for :func:`norm_stats`.
        bins: how many values have which leading bits, [dimensions, bins].
        ranks: counted from the smallest value.

    Returns:
        For each dimension rank → value.
    """
    wanted: list[dict[int, list[tuple[int, int]]]] = []
    for counts in bins:
        reached = np.cumsum(counts[_ORDER], dtype=np.int64)
        of_dimension: dict[int, list[tuple[int, int]]] = {}
        for rank, place in zip(ranks, np.searchsorted(reached, ranks, side="right"), strict=True):
            before = int(reached[place - 1]) if place else 0
            of_dimension.setdefault(int(_ORDER[place]), []).append((rank, rank - before))
        wanted.append(of_dimension)
    gathered: list[dict[int, list[npt.NDArray[Any]]]] = [{bits: [] for bits in one} for one in wanted]
    for chunk in chunks():
        for dimension, column in enumerate(np.ascontiguousarray(chunk.T)):
            leading = _leading_bits(column)
            for bits, parts in gathered[dimension].items():
                parts.append(column[leading == bits])
    found = []
    for dimension, of_dimension in enumerate(wanted):
        here: dict[int, float] = {}
        for bits, places in of_dimension.items():
            values = np.sort(np.concatenate(gathered[dimension][bits]))
            here |= {rank: float(values[place]) for rank, place in places}
        found.append(here)
    return found


def _between(found: Mapping[int, float], share: float, count: int) -> float:
    """Linear interpolation as ``numpy.quantile`` rounds it."""
    lower, upper = (found[rank] for rank in _ranks(share, count))
    part = share * (count - 1) - _ranks(share, count)[0]
    step = upper - lower
    return upper - step * (1 - part) if part >= 0.5 else lower + step * part


def dataset_norm_stats(
    root: str | Path, columns: Mapping[str, str] | None = None, *, keep: int = _KEPT_BYTES
) -> dict[str, NormStats]:
    """Statistics of a LeRobot data set, version 3.0 or 2.1; its files are read one by one.

    Args:
        root: its folder.
        columns: name in the result → feature; openpi's ``state`` and ``actions`` by default.
        keep: as for :func:`norm_stats`, of each column.

    Raises:
        UserError: a file or a feature is missing or corrupt.
    """
    from hitl_ops.records.lerobot_layout import ACTION, STATE
    from hitl_ops.records.lerobot_reading import data_files

    files = data_files(Path(root))
    if not files:
        raise UserError(f"'{root}' holds no data files of a LeRobot data set", _REMEDY)
    wanted = columns or {"state": STATE, "actions": ACTION}
    return {name: norm_stats(partial(_column_chunks, files, feature), keep=keep) for name, feature in wanted.items()}


def _column_chunks(files: Sequence[Path], feature: str) -> Iterator[npt.NDArray[Any]]:
    """A feature's values, in parts of equal length; small files come together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hitl_ops.records.lerobot_layout import numpy_column

    part: npt.NDArray[Any] | None = None
    filled = 0
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(_BATCH, columns=[feature], use_threads=False):
                    rows = numpy_column(pa.chunked_array([batch.column(feature)]))
                    rows = rows.reshape(len(rows), -1)
                    if part is None:
                        part = np.empty((_CHUNK, rows.shape[1]), rows.dtype)
                    part[filled : filled + len(rows)] = rows
                    filled += len(rows)
                    if filled > _CHUNK - _BATCH:
                        yield part[:filled]
                        part, filled = None, 0
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise UserError(f"'{file}', feature '{feature}': {' '.join(str(error).split())}", _REMEDY) from None
    if part is not None:
        yield part[:filled]


def recordings_norm_stats(episodes: Iterable[str | Path]) -> dict[str, NormStats]:
    """Statistics of HDF5 episodes: ``state`` is qpos, ``actions`` is action. Both are held in memory.

    Raises:
        UserError: an episode is missing or corrupt, or episodes differ in their joints.
    """
    from hitl_ops.records.station_hdf5 import read_state_and_action

    states: list[npt.NDArray[np.float32]] = []
    actions: list[npt.NDArray[np.float32]] = []
    for path in episodes:
        state, action = read_state_and_action(path)
        if states and (state.shape[1], action.shape[1]) != (states[0].shape[1], actions[0].shape[1]):
            raise UserError(
                f"episode '{path}' has {state.shape[1]} joints, the first had {states[0].shape[1]}", "leave it out"
            )
        states.append(state)
        actions.append(action)
    if not states:
        raise UserError("there are no episodes to take statistics of", "name a folder with *.hdf5")
    joined = {"state": _joined(states), "actions": _joined(actions)}
    return {name: norm_stats(partial(_parts, values)) for name, values in joined.items()}


def _parts(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    return (values[n : n + _CHUNK] for n in range(0, len(values), _CHUNK))


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def write_norm_stats(path: str | Path, stats: Mapping[str, NormStats]) -> None:
    """Publish statistics as openpi reads them."""
    plain = {
        name: {
            part: None if (value := getattr(one, part)) is None else value.tolist()
            for part in ("mean", "std", "q01", "q99")
        }
        for name, one in stats.items()
    }
    publish_text(path, json.dumps({"norm_stats": plain}, indent=2))


def read_norm_stats(path: str | Path) -> dict[str, NormStats]:
    """Read openpi's file, ours or another's.

    Raises:
        UserError: it is missing, or says something else.
    """
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))["norm_stats"]
        return {
            name: NormStats(
                np.asarray(one["mean"], np.float64),
                np.asarray(one["std"], np.float64),
                *(None if one.get(part) is None else np.asarray(one[part], np.float64) for part in ("q01", "q99")),
            )
            for name, one in said.items()
        }
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist", _REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is no norm_stats.json ({error})", _REMEDY) from None
