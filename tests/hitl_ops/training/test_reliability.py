"""How much people count: by how far they agree with themselves and with others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.labels.annotator_consistency import AgreementWith, AnnotatorConsistency
from hitl_ops.training.reliability import USUAL_ACCURACY, alike_share, annotator_accuracy, annotator_weights


def person(repeats=0, alike=0, others=None, one_sided=False) -> AnnotatorConsistency:
    return AnnotatorConsistency("ann", 100, {}, 0.5, one_sided, repeats, alike, 3.0, others or {})


def weight(one: AnnotatorConsistency) -> float:
    return annotator_weights({"ann": one})["ann"]


def test_somebody_nobody_knows_counts_once():
    assert weight(person()) == pytest.approx(1.0)


@given(st.floats(0.55, 0.99))
def test_accuracy_is_found_from_how_often_answers_agree(accuracy):
    many = 1_000_000
    found = annotator_accuracy(person(many, round(many * alike_share(accuracy))))
    assert found == pytest.approx(accuracy, abs=0.01)


def test_who_answers_by_lot_counts_next_to_nothing_and_who_is_sure_counts_more():
    assert weight(person(400, 200)) < 0.2
    assert weight(person(400, 396)) > 1.5
    assert weight(person(10_000, 10_000)) == 2.0


def test_agreement_with_others_counts_as_that_with_oneself():
    others = {"bob": AgreementWith(50, 30), "eve": AgreementWith(50, 30)}
    assert weight(person(others=others)) == pytest.approx(weight(person(100, 60)))
    assert weight(person(100, 60)) < 1.0 < USUAL_ACCURACY + 0.2


def test_who_always_says_one_side_counts_nothing():
    assert weight(person(one_sided=True)) == 0.0


def test_who_does_not_look_speaks_against_nobody():
    others = {"bob": AgreementWith(40, 20)}
    alone = annotator_weights({"ann": person(others=others)})["ann"]
    beside = annotator_weights({"ann": person(others=others), "bob": person(one_sided=True)})["ann"]
    assert alone < 0.6 and beside == pytest.approx(1.0)
