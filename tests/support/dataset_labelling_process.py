"""A process that labels a data set in place over and over; made to be killed."""

from __future__ import annotations

from pathlib import Path

# Loaded before the process is forked, so that starting it takes no time.
import pandas as pd  # noqa: F401
import pyarrow.parquet as pq  # noqa: F401

from hitl_ops.samples.advantage_labels import AdvantageLabelConfig, label_advantage

TWO = AdvantageLabelConfig(threshold=30.0)
SLICED = AdvantageLabelConfig(discretion_type="n_slices", n_slices=5)


def label_again_and_again(dataset: Path) -> None:
    """Label in place until killed, one way and the other."""
    while True:
        for config in (TWO, SLICED):
            label_advantage(dataset, config)
