"""Statistics of features, equal to those LeRobot 0.6 writes: one look at an episode, then merged over episodes.

LeRobot counts each dimension into 5,000 bins between its extremes and interpolates its quantiles within a bin. The
same numbers come out here of sorted values, without the counting, in a small part of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_BINS = 5000
_PADDING = 1e-10

Stats = dict[str, npt.NDArray[Any]]


def feature_stats(values: npt.NDArray[Any]) -> Stats:
    """Statistics of one feature of one episode: see :func:`episode_stats`."""
    return episode_stats({"": values})[""]


def episode_stats(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, Stats]:
    """Statistics of an episode's features.

    Args:
        columns: feature → [T] or [T, n], all with the same T.

    Returns:
        For each feature min, max, mean, std, count and the quantiles, each [n] ([1] for [T]); count [1].
    """
    tables: dict[str, npt.NDArray[Any]] = {}
    for key, values in columns.items():
        table: npt.NDArray[Any] = values.reshape(len(values), -1)
        tables[key] = table.astype(np.result_type(table.dtype, np.float32), copy=False)
    quantiles = _all_quantiles(tables)
    stats = {}
    for key, table in tables.items():
        mean = np.mean(table, axis=0)
        variance = np.var(table, axis=0) if len(table) < 2 else np.mean(table**2, axis=0) - mean**2
        std = np.sqrt(np.maximum(0, variance))
        extremes = {"min": table.min(axis=0), "max": table.max(axis=0)}
        stats[key] = {**extremes, "mean": mean, "std": std, "count": np.array([len(table)])} | {
            name: mean.copy() if len(table) < 2 else quantiles[key][:, n].copy() for n, name in enumerate(QUANTILES)
        }
    return stats


def _all_quantiles(tables: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Each feature's quantiles, [n, 5]; features of one dtype are looked at together."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    for dtype in {table.dtype for table in tables.values()}:
        keys = [key for key, table in tables.items() if table.dtype == dtype]
        together = np.concatenate([tables[key].T for key in keys])
        together.sort(axis=1)
        ends = np.cumsum([tables[key].shape[1] for key in keys])
        found |= dict(zip(keys, np.split(_binned_quantiles(together), ends[:-1]), strict=True))
    return found


def _binned_quantiles(ordered: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Quantiles as they come out of a histogram, [dimensions, 5].

    Args:
        ordered: values, growing along each row, [dimensions, T].
    """
    count = ordered.shape[1]
    wanted = np.array([share * count for share in QUANTILES.values()])
    # The bin in which the counts reach what is wanted is the one that holds the value of that rank.
    ranked = ordered[:, np.maximum(np.ceil(wanted).astype(np.int64), 1) - 1]
    edges = _Edges(ordered[:, :1] - _PADDING, ordered[:, -1:] + _PADDING)
    bins = edges.bins_of(ranked)
    lower, upper = edges.at(bins), edges.at(bins + 1)
    limits = np.concatenate((lower, upper), axis=1)
    counted = np.array([np.searchsorted(row, limit) for row, limit in zip(ordered, limits, strict=True)], np.float64)
    before, after = counted[:, : len(wanted)], counted[:, len(wanted) :]
    after[bins == _BINS - 1] = count  # the last bin is closed above
    return _within(bins, lower, upper, wanted, before, after)


class _Edges:
    """The edges of each dimension's bins, as ``numpy.linspace`` rounds them, without making them all.

    Args:
        start: [dimensions, 1].
        stop: alike.
    """

    def __init__(self, start: npt.NDArray[Any], stop: npt.NDArray[Any]) -> None:
        self._start, self._stop = start, stop
        self._step = (stop - start) / start.dtype.type(_BINS)

    def at(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Edges by number, [dimensions, any]."""
        made = numbers.astype(self._start.dtype) * self._step + self._start
        return np.where(numbers == _BINS, self._stop, made)

    def bins_of(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The bin each value lies in, [dimensions, any]."""
        step = np.where(self._step > 0, self._step, 1).astype(np.float64)
        bins = np.clip((values.astype(np.float64) - self._start) / step, 0, _BINS - 1).astype(np.int64)
        # Rounding may have put the edge on the other side of the value.
        for _ in range(4):
            bins -= (self.at(bins) > values) & (bins > 0)
            bins += (self.at(bins + 1) <= values) & (bins < _BINS - 1)
        unsure = (self.at(bins) > values) | ((self.at(bins + 1) <= values) & (bins < _BINS - 1))
        for row in np.flatnonzero(unsure.any(axis=1)):
            # The range is so small beside the values that many edges are one.
            all_edges = np.linspace(self._start[row, 0], self._stop[row, 0], _BINS + 1)
            bins[row] = np.minimum(np.searchsorted(all_edges, values[row], side="right") - 1, _BINS - 1)
        return bins


def _within(
    bins: npt.NDArray[np.int64],
    lower: npt.NDArray[Any],
    upper: npt.NDArray[Any],
    wanted: npt.NDArray[np.float64],
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Interpolate linearly within a bin; the first bin's lower edge stands for all of it."""
    inside = after - before
    share = np.divide(wanted - before, inside, out=np.zeros(before.shape), where=inside > 0)
    return np.where(bins == 0, lower, lower + share * (upper - lower)).astype(np.float64)


def sampled_frames(frames: int) -> list[int]:
    """Which pictures of an episode its statistics are taken from, as LeRobot chooses them."""
    wanted = max(min(100, frames), min(int(frames**0.75), 10_000))
    return [int(n) for n in np.round(np.linspace(0, frames - 1, wanted))]


def shrunk(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture [height, width, 3] with every n-th pixel, as LeRobot looks at it."""
    height, width, _ = picture.shape
    if max(width, height) < 300:
        return picture
    step = int(width / 150) if width > height else int(height / 150)
    return picture[::step, ::step]


def picture_stats(pictures: Iterable[npt.NDArray[np.uint8]], frames: int) -> Stats:
    """Statistics of a camera in one episode, over values from 0 to 1.

    Args:
        pictures: those of :func:`sampled_frames`, [height, width, 3] each, whole or :func:`shrunk`.
        frames: how many they are.

    Returns:
        As :func:`feature_stats`, each [3, 1, 1].
    """
    small = np.stack([shrunk(picture) for picture in pictures])
    pixels = small.reshape(-1, 3)
    table = pixels.astype(np.float32)
    mean = np.mean(table, axis=0)
    square = np.mean(table**2, axis=0)
    levels = [np.bincount(pixels[:, channel], minlength=256) for channel in range(3)]
    low = np.array([np.flatnonzero(level)[0] for level in levels], np.float32)
    high = np.array([np.flatnonzero(level)[-1] for level in levels], np.float32)
    found = np.array([_level_quantiles(level) for level in levels])
    stats: Stats = {"min": low, "max": high, "mean": mean, "std": np.sqrt(np.maximum(0, square - mean**2))}
    stats |= {name: found[:, n] for n, name in enumerate(QUANTILES)}
    return {**{name: (value / 255.0).reshape(3, 1, 1) for name, value in stats.items()}, "count": np.array([frames])}


def _level_quantiles(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """As :func:`_binned_quantiles`, of values from 0 to 255 given by how often each occurs."""
    values = np.flatnonzero(counts).astype(np.float32)
    reached = np.cumsum(counts[counts > 0])
    below = np.concatenate(([0], reached)).astype(np.float64)
    wanted = np.array([share * reached[-1] for share in QUANTILES.values()])
    edges = _Edges(values[:1, None] - np.float32(_PADDING), values[-1:, None] + np.float32(_PADDING))
    bins = edges.bins_of(values[None, np.searchsorted(reached, wanted)])
    lower, upper = edges.at(bins), edges.at(bins + 1)
    before, after = below[np.searchsorted(values, lower)], below[np.searchsorted(values, upper)]
    after[bins == _BINS - 1] = below[-1]
    return _within(bins, lower, upper, wanted, before, after)[0]


class StatsTotal:
    """Merges episodes' statistics as LeRobot does: extremes, pooled mean and deviation, quantiles by weight."""

    def __init__(self) -> None:
        self._total: dict[str, Stats] = {}
        self._waiting: list[Mapping[str, Stats]] = []

    def add(self, stats: Mapping[str, Stats]) -> None:
        """Take in one episode's statistics, feature → statistics."""
        self._waiting.append(stats)
        if len(self._waiting) >= 64:
            self._merge()

    def total(self) -> dict[str, Stats]:
        """Feature → statistics over all that was taken in."""
        self._merge()
        return self._total

    def _merge(self) -> None:
        parts = [self._total, *self._waiting] if self._total else self._waiting
        keys = list(dict.fromkeys(key for part in parts for key in part))
        self._total = {key: merged_stats([part[key] for part in parts if key in part]) for key in keys}
        self._waiting = []


def merged_stats(parts: list[Stats]) -> Stats:
    """One feature's statistics over several episodes.

    Quantiles are there where every part has them: data sets of version 2.1 have none.
    """
    counts = np.stack([part["count"] for part in parts])
    total = counts.sum(axis=0)
    means = np.stack([part["mean"] for part in parts])
    weights = counts.reshape(counts.shape + (1,) * (means.ndim - counts.ndim))
    mean = (means * weights).sum(axis=0) / total
    spread = np.stack([part["std"] ** 2 for part in parts]) + (means - mean) ** 2
    merged: Stats = {
        "min": np.min(np.stack([part["min"] for part in parts]), axis=0),
        "max": np.max(np.stack([part["max"] for part in parts]), axis=0),
        "mean": mean,
        "std": np.sqrt((spread * weights).sum(axis=0) / total),
        "count": total,
    }
    for name in QUANTILES:
        if all(name in part for part in parts):
            merged[name] = (np.stack([part[name] for part in parts]) * weights).sum(axis=0) / total
    return merged


def plain_stats(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Statistics as JSON."""
    return {key: {name: value.tolist() for name, value in one.items()} for key, one in stats.items()}


def stats_from_plain(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Stats]:
    """Statistics out of JSON or of an episodes' table."""
    return {
        key: {name: np.atleast_1d(np.asarray(value)) for name, value in one.items() if value is not None}
        for key, one in stats.items()
    }
