"""The rule that makes proposals of values: words in the order of scores, doubt, calibration, agreement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hitl_ops.samples.proposal_rule import (
    Agreement,
    ProposalRule,
    Thresholds,
    agreement,
    fixed_thresholds,
    score_of,
    thresholds_of,
    value_at_end,
    words_left_out,
)

# Values as an estimator gives them, ties among them.
unit = st.integers(0, 40).map(lambda n: n / 40)
PLACE = {"bad": 0, "unsure": 1, "good": 2}


@st.composite
def thresholds(draw: st.DrawFn) -> Thresholds:
    bad, good = sorted((draw(unit), draw(unit)))
    return Thresholds(good=draw(st.sampled_from([good, None])), bad=draw(st.sampled_from([bad, None])))


@given(thresholds(), unit, unit)
def test_a_higher_score_never_gets_a_lesser_word(known: Thresholds, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert PLACE[known.word(low)] <= PLACE[known.word(high)]
    for score in (one, other):
        doubt, word = known.doubt(score), known.word(score)
        assert 0 <= doubt <= 1
        assert doubt >= 0.5 if word == "unsure" else doubt <= 0.5
    if known.word(low) == known.word(high) == "good":
        assert known.doubt(high) <= known.doubt(low)
    if known.word(low) == known.word(high) == "bad":
        assert known.doubt(low) <= known.doubt(high)


def test_the_middle_is_doubted_most_and_the_ends_not_at_all() -> None:
    known = Thresholds(good=0.8, bad=0.2)
    scores = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
    assert [known.doubt(score) for score in scores] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0])
    assert [known.word(score) for score in scores] == ["bad"] * 3 + ["unsure"] * 3 + ["good"] * 3


def test_an_end_is_its_last_frames() -> None:
    values = np.array([0.0, 0.0, 0.5, 1.0], np.float32)
    assert [value_at_end(values, frames) for frames in (1, 2, 4, 99)] == [1.0, 0.75, 0.375, 0.375]
    assert [score_of(value) for value in (-0.2, 0.3, 1.4)] == [0.0, 0.3, 1.0]


@given(st.lists(st.tuples(unit, st.booleans()), max_size=40), st.integers(1, 5), st.sampled_from([0.6, 0.9, 1.0]))
def test_calibrated_words_are_as_right_as_asked_for(
    judged: list[tuple[float, bool]], least: int, precision: float
) -> None:
    rule = ProposalRule(least_judged=least, precision=precision)
    scores, good = [score for score, _ in judged], [is_good for _, is_good in judged]
    known = thresholds_of(rule, scores, good)
    counts = sum(good), len(good) - sum(good)
    if min(counts) < least:
        assert known == fixed_thresholds(rule) and not known.calibrated
        return
    assert (known.judged_good, known.judged_bad) == counts and known.calibrated
    if known.good is not None and known.bad is not None:
        assert known.bad < known.good
    for side, word in ((known.good, "good"), (known.bad, "bad")):
        named = [is_good == (word == "good") for score, is_good in judged if known.word(score) == word]
        if side is None:
            assert not named
            continue
        right = sum(named) / counts[word == "bad"]
        wrong = (len(named) - sum(named)) / counts[word == "good"]
        assert len(named) >= least and right / (right + wrong) >= precision - 1e-9
        assert side in scores, "nothing is extrapolated"


def test_apart_they_are_told_apart_and_mixed_nothing_is_proposed() -> None:
    rule = ProposalRule(least_judged=3)
    apart = thresholds_of(rule, [0.1, 0.2, 0.25, 0.6, 0.7, 0.9], [False] * 3 + [True] * 3)
    assert (apart.bad, apart.good) == (0.25, 0.6)
    # However few good ones there are beside the bad.
    many = thresholds_of(rule, [0.1] * 60 + [0.2] + [0.6, 0.7, 0.9], [False] * 61 + [True] * 3)
    assert (many.bad, many.good) == (0.2, 0.6)
    mixed = thresholds_of(rule, [0.5] * 6, [True, False] * 3)
    assert (mixed.bad, mixed.good) == (None, None) and mixed.word(0.99) == "unsure"
    assert thresholds_of(rule.replace(calibrate=False), [0.1] * 9 + [0.9] * 9, [False] * 9 + [True] * 9).good == 0.7


def test_who_is_asked_about_has_no_say_in_the_thresholds() -> None:
    scores, good = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9], [False] * 3 + [True] * 4
    rule = ProposalRule(least_judged=3)
    assert thresholds_of(rule, scores, good).word(0.5) == "good"
    assert words_left_out(rule, scores, good, [3, 6]) == ["unsure", "good"]


def test_agreement_counts_what_was_decided() -> None:
    found = agreement([("good", "good"), ("good", "bad"), ("bad", "bad"), ("unsure", "good"), ("bad", "bad")])
    assert found == Agreement(same=3, different=1, unsure=1)
    assert (found.decided, found.share, agreement([]).share) == (4, 0.75, None)


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="must lie below"):
        ProposalRule(threshold_good=0.3, threshold_bad=0.3)
