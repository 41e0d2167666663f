"""Our statistics are LeRobot's, number for number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.records.lerobot_stats import (
    StatsTotal,
    feature_stats,
    picture_stats,
    sampled_frames,
)
from tests.support.station_recordings import picture

pytestmark = pytest.mark.slow  # importing lerobot takes seconds


@pytest.fixture(scope="module")
def theirs() -> Any:
    from lerobot.datasets import compute_stats

    return compute_stats


def _equal(ours: dict[str, npt.NDArray[Any]], theirs: dict[str, npt.NDArray[Any]]) -> None:
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


@st.composite
def _columns(draw: st.DrawFn) -> npt.NDArray[Any]:
    frames, chance = draw(st.integers(1, 400)), np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["float32", "float64", "int64", "bool", "held", "far"]))
    if kind == "bool":
        return chance.random(frames) < 0.3
    if kind == "int64":
        return chance.integers(-5, 900, frames)
    values = chance.normal(0, draw(st.floats(1e-4, 50)), (frames, 3)).astype(
        "float64" if kind == "float64" else "float32"
    )
    if kind == "held":  # a joint that does not move, one that is zero, one with two values
        values[:, 0], values[:, 1], values[:, 2] = values[0, 0], 0, values[:, 2] > 0
    return values + 1000 if kind == "far" else values


@settings(max_examples=40)
@given(values=_columns())
def test_numbers(theirs: Any, values: npt.NDArray[Any]) -> None:
    _equal(feature_stats(values), theirs.get_feature_stats(values, axis=0, keepdims=values.ndim == 1))


@pytest.mark.parametrize("frames", [1, 2, 60, 101, 500, 1000])
def test_the_same_frames_are_looked_at(theirs: Any, frames: int) -> None:
    assert sampled_frames(frames) == theirs.sample_indices(frames)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (480, 640), (400, 300)])
def test_pictures(theirs: Any, height: int, width: int) -> None:
    images = [picture(height, width, n / 3) for n in range(7)]
    seen = np.stack([theirs.auto_downsample_height_width(image.transpose(2, 0, 1)) for image in images])
    stats = theirs.get_feature_stats(seen, axis=(0, 2, 3), keepdims=True)
    wanted = {name: value if name == "count" else np.squeeze(value / 255.0, axis=0) for name, value in stats.items()}
    _equal(picture_stats(images, 7), wanted)


def test_episodes_add_up(theirs: Any) -> None:
    chance = np.random.default_rng(0)
    parts = [{"a": feature_stats(chance.normal(n, 1, (20 + n, 3)).astype(np.float32))} for n in range(150)]
    total = StatsTotal()
    running = None
    for part in parts:
        total.add(part)
        running = theirs.aggregate_stats([running, part]) if running else part
    assert running is not None
    for name, value in running["a"].items():
        np.testing.assert_allclose(total.total()["a"][name], value, rtol=1e-9, err_msg=name)
