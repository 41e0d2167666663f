"""A scripted person compares by true return: with mistakes, indifference, and no memory of what it said before."""

from __future__ import annotations

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.scripted_comparer import ScriptedComparer, ScriptedComparerConfig
from hitl_ops.records.clips import Clip
from tests.support.clip_sets import make_clips

CLIPS = sorted(make_clips(2, seed=1), key=lambda clip: clip.true_return or 0)
WORSE, BETTER = CLIPS


def answers(config: ScriptedComparerConfig, left: Clip, right: Clip, count: int = 1000, name: str = "s") -> list[str]:
    who = ScriptedComparer(config, name)
    return [who.answer(f"pair-{number}", left, right) for number in range(count)]


def test_without_mistakes_it_names_the_better_clip_whatever_side_it_is_on():
    careful = ScriptedComparerConfig(errors=0)
    assert set(answers(careful, BETTER, WORSE)) == {"left"}
    assert set(answers(careful, WORSE, BETTER)) == {"right"}


def test_it_errs_as_often_as_it_is_told():
    assert 70 < answers(ScriptedComparerConfig(errors=0.1), BETTER, WORSE).count("right") < 130
    assert set(answers(ScriptedComparerConfig(errors=1.0), BETTER, WORSE)) == {"right"}


def test_what_differs_too_little_is_a_tie():
    apart = (BETTER.true_return or 0) - (WORSE.true_return or 0)
    assert set(answers(ScriptedComparerConfig(errors=0, indifference=apart + 1e-6), BETTER, WORSE)) == {"tie"}
    assert set(answers(ScriptedComparerConfig(errors=0, indifference=apart - 1e-6), BETTER, WORSE)) == {"left"}


def test_it_can_t_tell_as_often_as_it_is_told():
    said = answers(ScriptedComparerConfig(errors=0, cant_tell=0.3), BETTER, WORSE)
    assert 240 < said.count("cant_tell") < 360


def test_the_same_question_is_answered_alike_and_two_people_err_otherwise():
    config = ScriptedComparerConfig(errors=0.3)
    assert answers(config, BETTER, WORSE) == answers(config, BETTER, WORSE)
    assert answers(config, BETTER, WORSE) != answers(config, BETTER, WORSE, name="t")
    assert answers(config, BETTER, WORSE) != answers(config.replace(seed=1), BETTER, WORSE)
    who = ScriptedComparer(config)
    asked = [[who.answer(f"{n}", BETTER, WORSE, again=again) for n in range(100)] for again in (False, True)]
    assert asked[0] != asked[1]


def test_clips_nobody_knows_the_worth_of_are_refused():
    unknown = Clip(BETTER.facts, BETTER.observations, BETTER.actions)
    with pytest.raises(UserError, match="no true return"):
        ScriptedComparer(ScriptedComparerConfig()).answer("p", unknown, WORSE)
