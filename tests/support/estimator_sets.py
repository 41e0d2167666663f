"""Data sets that advantage estimators learn from: recordings with pictures, and how much was done after each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hitl_ops.records.lerobot_columns import episode_spans
from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from tests.support.station_recordings import record, robot


def with_progress(folder: Path) -> None:
    """Write the overlay ``progress`` for the data set ``set``: every episode's goes evenly from 0 to 1."""
    opened = open_lerobot(folder / "set")
    parts = [np.linspace(0, 1, span.length, dtype=np.float32) for span in episode_spans(opened)]
    write_overlay(folder / "progress", opened, {"stage_progress_gt": np.concatenate(parts)})


def waving_set(folder: Path, lengths: Sequence[int], *, cameras: Sequence[str] = ("cam_high",)) -> Path:
    """Short recordings of a waving robot as ``set``, and their ``progress``."""
    for number, length in enumerate(lengths):
        spec = robot(*cameras, size=(32, 48))
        record(folder / "raw" / f"episode_{number}.hdf5", length, spec=spec, seed=number)
    build_station_dataset(folder / "raw", folder / "set", StationDatasetConfig(prompts="plain"))
    with_progress(folder)
    return folder
