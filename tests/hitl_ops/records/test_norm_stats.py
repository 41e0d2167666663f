"""norm_stats.json: exact, in openpi's format, from recordings and data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hitl_ops.contracts.errors import UserError
from hitl_ops.records import norm_stats as module
from hitl_ops.records.norm_stats import (
    NormStats,
    dataset_norm_stats,
    norm_stats,
    read_norm_stats,
    recordings_norm_stats,
    write_norm_stats,
)
from hitl_ops.records.station_hdf5 import list_station_episodes, read_station_episode
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from tests.support.station_recordings import record


def _exact(found: NormStats, values: npt.NDArray[Any]) -> None:
    exact = values.astype(np.float64)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-12, atol=1e-14 * scale)
    np.testing.assert_allclose(found.std, exact.std(axis=0), rtol=1e-9, atol=1e-9 * scale)
    assert found.q01 is not None
    assert found.q99 is not None
    np.testing.assert_array_equal(found.q01, np.quantile(exact, 0.01, axis=0))
    np.testing.assert_array_equal(found.q99, np.quantile(exact, 0.99, axis=0))


@settings(max_examples=40)
@given(
    values=arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(1, 300), st.integers(1, 4)),
        elements=st.floats(-1e6, 1e6, width=32),
        fill=st.nothing(),
    ),
    cut=st.integers(1, 300),
)
def test_any_numbers_in_any_parts(values: npt.NDArray[Any], cut: int) -> None:
    parts = [values[n : n + cut] for n in range(0, len(values), cut)]
    _exact(norm_stats(lambda: parts), values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_BINS_WORTHWHILE", 0)  # counted, however few they are
        _exact(norm_stats(lambda: parts), values)
        patched.setattr(module, "_KEPT_BYTES", 0)  # and read twice
        _exact(norm_stats(lambda: parts), values)


def test_many_frames() -> None:
    chance = np.random.default_rng(0)
    values = (chance.normal(0, 1, (80_000, 14)) * np.logspace(-3, 3, 14) + np.linspace(-9, 9, 14)).astype(np.float32)
    values[:, 5] = 0.25
    _exact(norm_stats(lambda: [values[:30_000], values[30_000:]]), values)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(wrong: float) -> None:
    values = np.zeros((50, 14), np.float32)
    values[20, 6] = wrong
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match="dimension 6 holds values that are not finite"):
        norm_stats(lambda: [values])


def test_recordings_and_their_data_set_agree_and_no_video_is_opened(tmp_path: Path) -> None:
    for n in range(3):
        record(tmp_path / "raw" / f"episode_{n}.hdf5", 20 + n, seed=n)
    episodes = [read_station_episode(path) for path in list_station_episodes(tmp_path / "raw")]
    of_recordings = recordings_norm_stats(list_station_episodes(tmp_path / "raw"))
    build_station_dataset(tmp_path / "raw", tmp_path / "set", StationDatasetConfig())
    of_dataset = dataset_norm_stats(tmp_path / "set")
    for found in (of_recordings, of_dataset, read_norm_stats(tmp_path / "set" / "norm_stats.json")):
        _exact(found["state"], np.concatenate([episode.qpos for episode in episodes]))
        _exact(found["actions"], np.concatenate([episode.action for episode in episodes]))


def test_the_file_is_openpis(tmp_path: Path) -> None:
    stats = NormStats(np.array([1.0, 2.0]), np.array([0.5, 0.25]), None, None)
    write_norm_stats(tmp_path / "norm_stats.json", {"state": stats})
    said = json.loads((tmp_path / "norm_stats.json").read_text())
    assert said == {"norm_stats": {"state": {"mean": [1.0, 2.0], "std": [0.5, 0.25], "q01": None, "q99": None}}}
    back = read_norm_stats(tmp_path / "norm_stats.json")["state"]
    assert (back.mean.tolist(), back.q01) == ([1.0, 2.0], None)
    (tmp_path / "norm_stats.json").write_text('{"norm_stats": {"state": {"mean": [1]}}}')
    with pytest.raises(UserError, match=r"is no norm_stats\.json"):
        read_norm_stats(tmp_path / "norm_stats.json")


def test_nothing_to_compute_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no episodes"):
        recordings_norm_stats([])
    with pytest.raises(UserError, match="holds no data files"):
        dataset_norm_stats(tmp_path)
    record(tmp_path / "raw" / "e.hdf5", 3)
    build_station_dataset(tmp_path / "raw", tmp_path / "set", StationDatasetConfig())
    with pytest.raises(UserError, match=r"feature 'observation\.joints'"):
        dataset_norm_stats(tmp_path / "set", {"state": "observation.joints"})
