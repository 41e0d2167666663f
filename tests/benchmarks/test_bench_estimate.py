"""The benchmark of estimation, in seconds: that it measures what it says, and that all sides say the same."""

from __future__ import annotations

import pytest

from benchmarks import estimate
from flywheel.bench import COLUMNS

pytestmark = pytest.mark.slow


def test_estimation_is_measured_beside_one_thread() -> None:
    small = {"episodes": 2, "frames": 30, "height": 32, "width": 48, "image_size": 16, "batch_size": 8, "delta": 7}
    rows = estimate.bench(estimate.Settings(rounds=1, **small))
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["target"] for row in rows] == [2, None, None, None, None, 1e-4]
    assert all(row["ours"] > 0 and row["reference"] > 0 for row in rows[:2])
    assert 0 < rows[2]["ours"] < 1
    assert rows[5]["holds"]
