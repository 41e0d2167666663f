"""Labels equal those of the rules, frame by frame: a plain loop over numbers says what they must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.records.lerobot_overlay import open_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder
from hitl_ops.samples.advantage_labels import AdvantageLabelConfig, label_advantage
from hitl_ops.samples.stage_advantage import Discretion, label_advantages, progress_advantage, stages_of
from tests.support.lerobot_sets import make_set

CHUNK = 50


def _percentile(ordered: Sequence[Any], percent: float) -> Any:
    """Linear between the two ranks it lies between, every step in the precision of the numbers."""
    kind = type(ordered[0])
    rank = kind(kind(len(ordered) - 1) * kind(kind(percent) / kind(100)))
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    share = kind(rank - kind(below))
    gap = ordered[above] - ordered[below]
    if share < 0.5:
        return ordered[below] + gap * share
    return ordered[above] - gap * (kind(1) - share)


def _loop(
    columns: dict[str, npt.NDArray[np.float32]],
    lengths: Sequence[int],
    source: str,
    discretion: Discretion,
    stage_nums: int,
    threshold: float,
    n_slices: int = 10,
) -> list[int]:
    """The rules, one frame after the other."""
    advantages: list[np.float32] = []
    start = 0
    for length in lengths:
        values = list(columns[source][start : start + length])
        for i in range(length):
            if source != "progress":
                advantages.append(values[i])
            elif i + CHUNK < length:
                advantages.append(values[i + CHUNK] - values[i])
            else:
                advantages.append((values[-1] - values[i]) / np.float32(length - i) * np.float32(CHUNK))
        start += length
    stages = [0] * len(advantages)
    if stage_nums > 1:
        width = np.float32(1 / stage_nums)
        stages = [min(int(progress / width), stage_nums - 1) for progress in columns["stage_progress_gt"]]
    labels = [0] * len(advantages)
    for stage in range(stage_nums):
        there = [i for i, one in enumerate(stages) if one == stage]
        kind: Any = np.float64 if stage_nums == 1 else np.float32
        ordered = sorted(kind(advantages[i]) for i in there)
        if not ordered:
            continue
        if discretion == "binary":
            limit = _percentile(ordered, 100 - threshold)
            for i in there:
                labels[i] = 1 if kind(advantages[i]) >= limit else 0
            continue
        limits = [_percentile(ordered, 100 / n_slices * k) for k in range(n_slices)]
        for i in there:
            value = kind(advantages[i])
            inside = [k for k in range(n_slices - 1) if limits[k] <= value < limits[k + 1]]
            labels[i] = n_slices - 1 if value >= limits[-1] else inside[0] if inside else 0
    return labels


def _made_up(lengths: Sequence[int], seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Progress that stands still now and then, and advantages in steps: there are ties."""
    rng = np.random.default_rng(seed)
    progress, stage = [], []
    for length in lengths:
        steps = np.maximum(rng.normal(0.6, 1.0, length), 0.0)
        walked = np.cumsum(steps)
        progress.append(np.round(walked / max(walked[-1], 1e-9), 4))
        stage.append(np.arange(length) / max(length - 1, 1))
    frames = sum(lengths)
    return {
        "progress": np.concatenate(progress).astype(np.float32),
        "stage_progress_gt": np.concatenate(stage).astype(np.float32),
        "absolute_advantage": np.round(rng.normal(0.1, 0.3, frames), 2).clip(-1, 1).astype(np.float32),
        "relative_advantage": rng.normal(0.1, 0.3, frames).clip(-1, 1).astype(np.float32),
    }


def _ours(
    columns: dict[str, npt.NDArray[np.float32]],
    lengths: Sequence[int],
    source: str,
    discretion: Discretion,
    stage_nums: int,
    threshold: float,
    n_slices: int = 10,
) -> npt.NDArray[np.int32]:
    values = columns[source]
    if source == "progress":
        values = np.concatenate(
            [progress_advantage(one, CHUNK) for one in np.split(values, np.cumsum(lengths)[:-1]) if len(one)]
        )
    stages = stages_of(columns["stage_progress_gt"], stage_nums) if stage_nums > 1 else None
    labels, _ = label_advantages(
        values,
        stages,
        discretion=discretion,
        threshold=threshold,
        n_slices=n_slices,
        stage_nums=stage_nums,
    )
    return labels


LENGTHS = {"fixed": [1000] * 200, "varying": np.random.default_rng(1).integers(1, 2000, 205).tolist()}


@pytest.fixture(scope="module", params=LENGTHS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, LeRobotFolder]:
    """Of fixed lengths in version 2.1, of varying ones in version 3.0."""
    lengths, version = LENGTHS[request.param], "v2.1" if request.param == "fixed" else "v3.0"
    assert sum(lengths) >= 200_000
    root = tmp_path_factory.mktemp("sets") / "set"
    return request.param, make_set(root, lengths, _made_up(lengths, 7), version=version, dims=1)


@pytest.mark.slow
@pytest.mark.parametrize("stage_nums", [1, 2])
@pytest.mark.parametrize("discretion", ["binary", "n_slices"])
@pytest.mark.parametrize("source", ["progress", "absolute_advantage", "relative_advantage"])
def test_labels_of_200_000_frames_are_those_of_the_rules(
    dataset: tuple[str, LeRobotFolder], tmp_path: Path, source: Any, discretion: Discretion, stage_nums: int
) -> None:
    shape, folder = dataset
    lengths = LENGTHS[shape]
    config = AdvantageLabelConfig(advantage_source=source, discretion_type=discretion, stage_nums=stage_nums)
    label_advantage(folder.root, config, overlay=tmp_path / "labels")
    ours = open_overlay(tmp_path / "labels", folder).column("task_index")
    assert ours.dtype == np.int32
    expected = _loop(_made_up(lengths, 7), lengths, source, discretion, stage_nums, 70.0)
    np.testing.assert_array_equal(ours, expected)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 120), min_size=1, max_size=5),
    st.sampled_from(["progress", "absolute_advantage", "relative_advantage"]),
    st.sampled_from(["binary", "n_slices"]),
    st.integers(1, 5),
    st.floats(0, 100),
    st.integers(2, 12),
    st.integers(0, 1 << 20),
)
def test_labels_are_those_of_the_rules_with_any_settings(
    lengths: list[int],
    source: str,
    discretion: Discretion,
    stage_nums: int,
    threshold: float,
    n_slices: int,
    seed: int,
) -> None:
    columns = _made_up(lengths, seed)
    told = columns, lengths, source, discretion, stage_nums, threshold, n_slices
    np.testing.assert_array_equal(_ours(*told), _loop(*told))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 400), st.floats(1, 99), st.integers(0, 1 << 20))
def test_the_share_asked_for_comes_out_where_there_are_no_ties(frames: int, threshold: float, seed: int) -> None:
    advantage = np.random.default_rng(seed).permutation(frames).astype(np.float32)
    labels, (stage,) = label_advantages(advantage, None, threshold=threshold)
    assert abs(labels.mean() - threshold / 100) <= 1.5 / frames
    assert stage.shares[1] == pytest.approx(labels.mean())
    # A better frame never has the worse label.
    assert (np.diff(labels[np.argsort(advantage)]) >= 0).all()
    slices, (stage,) = label_advantages(advantage, None, discretion="n_slices", n_slices=4)
    assert max(abs(share - 0.25) for share in stage.shares) <= 1.5 / frames
    assert (np.diff(slices[np.argsort(advantage)]) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
    st.floats(0, 100),
    st.integers(1, 2),
)
def test_percentiles_are_numpys(values: list[float], threshold: float, stage_nums: int) -> None:
    advantage = np.array(values, np.float32)
    stages = np.zeros(len(values), np.int16)
    stage = label_advantages(advantage, stages, threshold=threshold, stage_nums=stage_nums)[1][0]
    exact: npt.NDArray[Any] = advantage.astype(np.float64) if stage_nums == 1 else advantage
    assert stage.boundaries == [np.percentile(exact, 100 - threshold)]
    assert stage.percentiles == {percent: np.percentile(exact, float(percent)) for percent in range(0, 101, 10)}
    assert stage.mean == pytest.approx(advantage.astype(np.float64).mean(), abs=1e-12)
    assert stage.std == pytest.approx(advantage.astype(np.float64).std(), abs=1e-9)


@pytest.mark.parametrize("middle", [0.0, 0.25, -1.0, 1e-40])
@pytest.mark.parametrize("steps", [0, 1, 39, 79, 81, 1000])
def test_values_next_to_equal_have_bars_too(middle: float, steps: int) -> None:
    low = np.float32(middle)
    high = low
    for _ in range(steps):
        high = np.nextafter(high, np.float32(2))
    (stage,) = label_advantages(np.array([low, high, high], np.float32), None, threshold=30.0)[1]
    assert sum(stage.histogram) == 3 and np.all(np.diff(stage.histogram_edges) > 0)


def test_ties_inflate_what_is_positive() -> None:
    advantage = np.array([0.0] * 10 + [1.0] * 90, np.float32)
    labels, (stage,) = label_advantages(advantage, None, threshold=30.0)
    assert labels.sum() == 90
    assert (stage.labels, stage.shares, stage.boundaries) == ([10, 90], [0.1, 0.9], [1.0])


def test_each_stage_is_compared_with_itself() -> None:
    advantage = np.array([0.1, 0.2, 0.3, 10, 20, 30], np.float32)
    stages = stages_of(np.array([0.0, 0.2, 0.4999, 0.5, 0.9, 1.0], np.float32), 2)
    assert stages.tolist() == [0, 0, 0, 1, 1, 1]
    labels, found = label_advantages(advantage, stages, threshold=34.0, stage_nums=2)
    assert labels.tolist() == [0, 0, 1, 0, 0, 1]
    assert [stage.frames for stage in found] == [3, 3]
    empty = label_advantages(advantage, np.zeros(6, np.int16), stage_nums=2)[1][1]
    assert (empty.frames, empty.mean, empty.shares) == (0, None, [])


def test_one_frame_has_no_advantage_and_the_tail_keeps_its_pace() -> None:
    assert progress_advantage(np.array([0.7], np.float32), 50).tolist() == [0.0]
    paced = progress_advantage(np.arange(5, dtype=np.float32), 2)
    assert paced.tolist() == [2.0, 2.0, 2.0, 1.0, 0.0]  # (4 - 3) / (5 - 3) * 2 = 1
    assert progress_advantage(np.arange(3), 5).dtype == np.float32
