"""The intervals cover what they should, the tests are symmetric, and all of it is repeatable."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.evaluation.intervals import (
    bootstrap_interval,
    mcnemar,
    paired_difference,
    paired_ratio,
    wilson_interval,
)

FIGURES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1)


@settings(max_examples=40, deadline=None)
@given(FIGURES)
def test_the_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    interval = bootstrap_interval(values, resamples=200)
    assert interval.low <= interval.mean <= interval.high
    assert min(values) - 1e-9 <= interval.low and interval.high <= max(values) + 1e-9
    assert interval.mean == pytest.approx(sum(values) / len(values))
    assert (interval.n, interval.clusters) == (len(values), len(values))


@settings(max_examples=30, deadline=None)
@given(FIGURES, st.integers(0, 100))
def test_same_seed_same_interval(values: list[float], seed: int) -> None:
    assert bootstrap_interval(values, resamples=100, seed=seed) == bootstrap_interval(values, resamples=100, seed=seed)


def test_resampling_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(0, 1, 50)
    whole = bootstrap_interval(values, resamples=2000)
    monkeypatch.setattr("hitl_ops.evaluation.intervals._CELLS_AT_ONCE", 50 * 333)
    assert bootstrap_interval(values, resamples=2000) == whole


def test_coverage_on_independent_episodes() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        interval = bootstrap_interval(rng.random(80) < 0.7, resamples=400, seed=trial)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.90 <= covered / 300 <= 0.99


def test_homes_must_be_resampled_whole_where_their_episodes_agree() -> None:
    rng = np.random.default_rng(6)
    clusters = [home for home in range(25) for _ in range(8)]
    covered = {"episode": 0, "home": 0}
    for trial in range(200):
        # Every home has a success rate of its own; 0.5 on the whole.
        rates = rng.choice([0.1, 0.9], size=25)
        values = rng.random(200) < np.repeat(rates, 8)
        for name, by in (("episode", None), ("home", clusters)):
            interval = bootstrap_interval(values, clusters=by, resamples=300, seed=trial)
            covered[name] += interval.low <= 0.5 <= interval.high
    assert covered["episode"] / 200 < 0.75
    assert 0.87 <= covered["home"] / 200 <= 0.99


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_swapping_the_policies_mirrors_the_comparison(pairs: list[tuple[float, float]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    clusters = [index // 2 for index in range(len(pairs))]
    one = paired_difference(a, b, clusters=clusters, resamples=200)
    two = paired_difference(b, a, clusters=clusters, resamples=200)
    assert one.p_value == two.p_value
    assert one.difference == -two.difference
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low))


def test_a_policy_against_itself() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    same = paired_difference(values, values)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    ratio = paired_ratio(values, values)
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)


def test_p_values_are_even_without_a_difference_and_small_with_one() -> None:
    rng = np.random.default_rng(7)
    rejected = 0
    for trial in range(300):
        a, b = rng.random(60) < 0.6, rng.random(60) < 0.6
        rejected += paired_difference(a, b, resamples=400, seed=trial).p_value < 0.05
    assert rejected / 300 < 0.09
    better, worse = rng.random(200) < 0.9, rng.random(200) < 0.6
    assert paired_difference(better, worse, resamples=2000).p_value < 0.01


def test_pairing_sees_what_two_intervals_do_not() -> None:
    # Policy b fails wherever a does, and in six episodes more.
    a = np.arange(100) % 2 == 0
    b = a & (np.arange(100) >= 12)
    difference = paired_difference(a, b)
    assert difference.low > 0 and difference.p_value < 0.05
    one, two = bootstrap_interval(a), bootstrap_interval(b)
    assert two.high > one.low


def test_ratio_of_a_reference_that_never_succeeds() -> None:
    assert paired_ratio([1, 0], [0, 0]).value is None
    # Resamples without a success of the reference are left out.
    rare = paired_ratio([1, 1, 1], [1, 0, 0], resamples=500)
    assert rare.value == 3.0 and rare.low is not None and math.isfinite(rare.high or math.inf)


def test_mcnemar_by_hand() -> None:
    ours = [True] * 8 + [False] * 1 + [True] * 5 + [False] * 2
    theirs = [False] * 8 + [True] * 1 + [True] * 5 + [False] * 2
    counts = mcnemar(ours, theirs)
    assert (counts.both, counts.only_policy, counts.only_reference, counts.neither) == (5, 8, 1, 2)
    # 2 · (C(9,0) + C(9,1)) / 2⁹
    assert counts.p_value == pytest.approx(20 / 512)
    assert mcnemar([True], [True]).p_value == 1.0


def test_wilson_by_hand() -> None:
    low, high = wilson_interval(10, 10)
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    low, high = wilson_interval(5, 10)
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    with pytest.raises(ValueError, match="no success rate"):
        wilson_interval(1, 0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one figure"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="3 figures but 2 clusters"):
        bootstrap_interval([1, 2, 3], clusters=["a", "b"])
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="one length"):
        paired_ratio([1, 2], [1])
