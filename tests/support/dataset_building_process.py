"""A process that makes a data set of recordings over and over; made to be killed."""

from __future__ import annotations

from pathlib import Path

# Loaded before the process is forked, so that starting it takes no time.
import av  # noqa: F401
import pandas as pd  # noqa: F401
import pyarrow.parquet as pq  # noqa: F401

from hitl_ops.records.video_encoding import VideoSettings
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset


def build_again_and_again(source: Path, out: Path) -> None:
    """Replace the data set at ``out`` until killed, encoding all videos anew each time."""
    while True:
        for gop in (2, 3):
            build_station_dataset(source, out, StationDatasetConfig(workers=2, video=VideoSettings(gop=gop)))
