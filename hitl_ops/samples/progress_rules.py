"""From what was said of an episode to how far it has come at each of its frames: pure rules, no files.

Both rules give progress from 0 to 1, float32. The first is a person's eye, the second needs no more than a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hitl_ops.contracts.robot import Float32
from hitl_ops.labels.progress_marks import Mark, check_marks


def marks_progress(marks: Sequence[Mark], length: int, stages: int, *, episode: str = "the episode") -> Float32:
    """Progress by the manual rule: ``k/K + (1/K) * (position in segment / segment length)``.

    The segment before the mark "stage k reached" runs evenly from (k-1)/K to k/K, which it has at the mark's frame.
    Behind the last mark progress stays where it is: nothing is claimed that nobody saw, so an episode that did not
    come to its end stays below 1. At a setback, "stage k lost", it falls to (k-1)/K, up to there it stayed where it
    was, and from there the manual rule goes on. Without a setback it never falls.

    Args:
        marks: of one episode, in the order of frames.
        length: the episode's frames, T.
        stages: the task's stages, K.
        episode: what errors call the episode.

    Returns:
        Progress of each frame, [T] float32 in [0, 1].

    Raises:
        UserError: a mark cannot be (:func:`hitl_ops.labels.progress_marks.check_marks`).
    """
    check_marks(marks, length, stages, episode)
    progress = np.zeros(length, np.float64)
    level = start = 0
    for mark in marks:
        if mark.lost:
            progress[start : mark.frame] = level / stages
            level = mark.stage - 1
        else:
            span = mark.frame - start
            progress[start : mark.frame] = (level + np.arange(span) / max(span, 1)) / stages
            level = mark.stage
        start = mark.frame
    progress[start:] = level / stages
    return progress.astype(np.float32)


def verdict_progress(length: int, good: bool, longest: int, failure_cost: float) -> Float32:
    """Progress from a verdict alone: the normalised return to go of π*0.6 (RECAP, arXiv 2511.14759).

    Each step costs 1, failing at the end C, succeeding nothing: with T frames the return to go of frame t is
    ``R_t = -(T-1-t) - (0 if good else C)``. The paper brings it to [-1, 0] by the longest episode of the task; so does
    this, with the cost of failure in it: ``v_t = R_t / (T_max - 1 + C)``. Progress is ``1 + v_t``: 1 at the end of a
    success, at most ``1 - C / (T_max - 1 + C)`` in a failure.

    It is what a value function learns from, not an advantage: along every episode it grows evenly, whatever is done.
    Only what an estimator makes of it over many episodes tells a good step from a bad one.

    Args:
        length: the episode's frames, T.
        good: whether it succeeded.
        longest: frames of the task's longest episode, T_max.
        failure_cost: C, in steps, above 0.

    Returns:
        Progress of each frame, [T] float32 in [0, 1].
    """
    steps = np.arange(length - 1, -1, -1, dtype=np.float64)
    returns = -steps if good else -steps - failure_cost
    return (1.0 + returns / (longest - 1 + failure_cost)).astype(np.float32)
