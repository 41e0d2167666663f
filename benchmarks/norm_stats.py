"""Frames a second for norm_stats.json over a state and an action of 14 numbers each, beside NumPy on the same rows.

From a LeRobot data set and from HDF5 recordings, files read and statistics taken, quantiles exact. NumPy gets the rows
in memory already. Differences are to NumPy's own mean, deviation and quantiles in double precision.

Run ``python -m benchmarks.norm_stats`` for the rows as JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from benchmarks.conversion.recordings import made_up_episode
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.records.norm_stats import NormStats, dataset_norm_stats, recordings_norm_stats
from hitl_ops.records.station_hdf5 import list_station_episodes, read_state_and_action
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset

RATE_FLOOR = 1e6
LARGEST_DIFFERENCE = 1e-9


class Settings(StrictConfig):
    """What is measured with."""

    rounds: int = Field(default=5, ge=1, description="Alternating runs; the medians count.")
    episodes: int = Field(default=100, ge=1, description="Episodes.")
    frames: int = Field(default=5000, ge=2, description="Frames of each.")


def _numpy(rows: dict[str, npt.NDArray[np.float32]]) -> dict[str, NormStats]:
    found = {}
    for name, values in rows.items():
        exact = values.astype(np.float64)
        low, high = np.quantile(exact, (0.01, 0.99), axis=0)
        found[name] = NormStats(exact.mean(axis=0), exact.std(axis=0), low, high)
    return found


def _difference(ours: dict[str, NormStats], theirs: dict[str, NormStats]) -> float:
    """The largest relative difference of any figure."""
    worst = 0.0
    for name, one in theirs.items():
        for part in ("mean", "std", "q01", "q99"):
            exact, found = getattr(one, part), getattr(ours[name], part)
            worst = max(worst, float(np.max(np.abs(found - exact) / np.maximum(np.abs(exact), one.std))))
    return worst


def bench(settings: Settings | None = None) -> list[dict[str, Any]]:
    """Rows of ``flywheel bench norm-stats``."""
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="flywheel-norm-stats-") as folder:
        raw, dataset = Path(folder) / "raw", Path(folder) / "set"
        for n in range(settings.episodes):
            made_up_episode(raw / f"episode_{n}.hdf5", settings.frames, n)
        build_station_dataset(raw, dataset, StationDatasetConfig(norm_stats=False))
        files = list_station_episodes(raw)
        read = [read_state_and_action(file) for file in files]
        rows = {name: np.concatenate([one[n] for one in read]) for n, name in enumerate(("state", "actions"))}
        del read
        contenders: dict[str, Callable[[], dict[str, NormStats]]] = {
            "data set": lambda: dataset_norm_stats(dataset),
            "recordings": lambda: recordings_norm_stats(files),
            "numpy": lambda: _numpy(rows),
        }
        found: dict[str, dict[str, NormStats]] = {}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(settings.rounds):
            for name, compute in contenders.items():
                started = time.perf_counter()
                found[name] = compute()
                seconds[name].append(time.perf_counter() - started)
    frames = settings.episodes * settings.frames
    rates = {name: frames / statistics.median(one) for name, one in seconds.items()}
    told = []
    for name in ("data set", "recordings"):
        told.append(
            {
                "metric": f"frames per second, 14+14, from {'a ' if name == 'data set' else ''}{name}",
                "unit": "1/s",
                "ours": round(rates[name]),
                "reference": round(rates["numpy"]),
                "reference_name": "NumPy, rows in memory",
                "ratio": round(rates[name] / rates["numpy"], 2),
                "target": RATE_FLOOR,
                "holds": rates[name] >= RATE_FLOOR,
            }
        )
    worst = max(_difference(found[name], found["numpy"]) for name in ("data set", "recordings"))
    told.append(
        {
            "metric": "largest relative difference to NumPy",
            "unit": "",
            "ours": worst,
            "reference": None,
            "reference_name": None,
            "ratio": None,
            "target": LARGEST_DIFFERENCE,
            "holds": worst <= LARGEST_DIFFERENCE,
        }
    )
    return told


if __name__ == "__main__":
    print(json.dumps(bench(), indent=2))
