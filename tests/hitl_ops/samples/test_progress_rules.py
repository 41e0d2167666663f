"""Marks and verdicts to progress: against the rules, written out slowly, and what they must keep whatever is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.progress_marks import Mark
from hitl_ops.samples.progress_rules import marks_progress, verdict_progress


def _mark(frame: int, stage: int, lost: bool = False) -> Mark:
    return Mark(frame=frame, stage=stage, lost=lost)


def _slowly(marks: list[Mark], length: int, stages: int) -> list[float]:
    """Frame by frame, from the rule's text."""
    progress = []
    for frame in range(length):
        before = [mark for mark in marks if mark.frame <= frame]
        behind = [mark for mark in marks if mark.frame > frame]
        level = 0
        for mark in before:
            level = mark.stage - 1 if mark.lost else mark.stage
        begins = before[-1].frame if before else 0
        if behind and not behind[0].lost:
            progress.append(level / stages + (frame - begins) / (behind[0].frame - begins) / stages)
        else:
            progress.append(level / stages)
    return progress


@st.composite
def _stories(draw: st.DrawFn, setbacks: bool = True) -> tuple[list[Mark], int, int]:
    """Marks that can be."""
    stages, length = draw(st.integers(1, 9)), draw(st.integers(1, 400))
    frames = sorted(draw(st.sets(st.integers(0, length - 1), max_size=min(length, 12))))
    marks: list[Mark] = []
    level = 0
    for frame in frames:
        if setbacks and level > 0 and (level == stages or draw(st.booleans())):
            marks.append(_mark(frame, draw(st.integers(1, level)), lost=True))
            level = marks[-1].stage - 1
        elif level < stages:
            level += 1
            marks.append(_mark(frame, level))
    return marks, length, stages


@given(_stories())
@settings(max_examples=25, deadline=None)
def test_progress_follows_the_manual_rule_frame_by_frame(story: tuple[list[Mark], int, int]) -> None:
    marks, length, stages = story
    progress = marks_progress(marks, length, stages)
    assert progress.dtype == np.float32 and progress.shape == (length,)
    np.testing.assert_allclose(progress, _slowly(marks, length, stages), atol=1e-6)
    assert progress.min() >= 0 and progress.max() <= 1


@given(_stories(setbacks=False))
@settings(max_examples=25, deadline=None)
def test_without_a_setback_progress_never_falls_and_each_mark_has_its_stage(
    story: tuple[list[Mark], int, int],
) -> None:
    marks, length, stages = story
    progress = marks_progress(marks, length, stages)
    assert (np.diff(progress) >= 0).all()
    for mark in marks:
        assert progress[mark.frame] == np.float32(mark.stage / stages)
    claimed = marks[-1].stage if marks else 0
    assert progress[-1] == np.float32(claimed / stages)  # nothing is claimed behind the last mark


def test_a_setback_falls_at_its_frame_and_the_rule_goes_on_from_there() -> None:
    progress = marks_progress([_mark(4, 1), _mark(8, 2), _mark(12, 2, lost=True), _mark(16, 2)], 20, 4)
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 4, 5, 6, 7, 8, 8, 8, 8]
    np.testing.assert_allclose(progress, np.array(expected) / 16, atol=1e-7)


def test_one_frame_and_no_mark_are_progress_too() -> None:
    assert marks_progress([], 1, 4).tolist() == [0.0]
    assert marks_progress([_mark(0, 1)], 1, 1).tolist() == [1.0]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([_mark(20, 1)], r"episode 7, frame 20: the mark lies beyond the episode"),
        ([_mark(5, 5)], r"episode 7, frame 5: there is no stage 5"),
        ([_mark(5, 2)], r"episode 7, frame 5: stage 2 is reached when no stage is"),
        ([_mark(5, 1), _mark(6, 3)], r"episode 7, frame 6: stage 3 is reached when stage 1 is"),
        ([_mark(5, 1), _mark(6, 1)], r"episode 7, frame 6: stage 1 is reached when stage 1 is"),
        ([_mark(5, 1), _mark(4, 2)], r"episode 7, frame 4: the mark is not behind the one before, at frame 5"),
        ([_mark(5, 1), _mark(5, 2)], r"episode 7, frame 5: the mark is not behind"),
        ([_mark(5, 1), _mark(6, 2, lost=True)], r"episode 7, frame 6: stage 2 is lost before it is reached"),
    ],
)
def test_marks_that_cannot_be_are_refused_by_episode_and_frame(marks: list[Mark], said: str) -> None:
    with pytest.raises(UserError, match=said):
        marks_progress(marks, 20, 4, episode="episode 7")


@given(st.integers(1, 60), st.booleans(), st.integers(0, 60), st.floats(0.5, 500))
@settings(max_examples=25, deadline=None)
def test_verdicts_give_the_normalised_return_to_go(length: int, good: bool, further: int, cost: float) -> None:
    longest = length + further
    progress = verdict_progress(length, good, longest, cost)
    rewards = [-1.0] * (length - 1) + [0.0 if good else -cost]
    to_go = [sum(rewards[frame:]) for frame in range(length)]
    np.testing.assert_allclose(progress, 1 + np.array(to_go) / (longest - 1 + cost), atol=1e-6)
    assert progress.min() >= -1e-6 and progress.max() <= 1
    assert (progress[-1] == 1) == good


def test_the_worst_there_is_has_progress_zero() -> None:
    assert verdict_progress(50, False, 50, 50.0)[0] == 0
    assert verdict_progress(1, True, 1, 1.0).tolist() == [1.0]
