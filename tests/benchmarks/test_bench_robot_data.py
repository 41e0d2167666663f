"""The benchmarks of conversion and norm_stats, in seconds: that they measure what they say."""

from __future__ import annotations

import pytest

from benchmarks import convert, norm_stats
from flywheel.bench import COLUMNS

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def test_conversion_is_measured_beside_lerobot() -> None:
    small = {"episodes": 2, "frames": 40, "video_episodes": 1, "video_frames": 6, "height": 48, "width": 64}
    small["memory_episodes"] = 2
    rows = convert.bench(convert.Settings(rounds=1, **small))
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["target"] for row in rows] == [40, 3, None, 1.1]
    assert all(row["ours"] > 0 and row["reference"] > 0 for row in rows)
    assert rows[3]["ratio"] < 1.5


def test_norm_stats_are_measured_beside_numpy() -> None:
    rows = norm_stats.bench(norm_stats.Settings(rounds=1, episodes=3, frames=400))
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert [row["unit"] for row in rows] == ["1/s", "1/s", ""]
    assert rows[2]["holds"]
