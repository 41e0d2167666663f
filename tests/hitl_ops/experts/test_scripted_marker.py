"""The scripted marker: what it marks of episodes the simulator played, careful and careless, and how it errs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotReading
from hitl_ops.experts.scripted_arms import ScriptedArms, ScriptedArmsConfig
from hitl_ops.experts.scripted_marker import ScriptedMarkerConfig, bimanual_marks
from hitl_ops.labels.progress_marks import Mark, check_marks
from hitl_ops.rollouts.robot_episode import RobotEpisode, play_robot_episode
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld


@cache
def _played(noise: float, seed: int) -> RobotEpisode:
    with BimanualWorld(BimanualConfig(cameras=())) as world:
        hands = ScriptedArms(ScriptedArmsConfig(noise=noise))
        hands.start(seed)
        return play_robot_episode(world, seed, hands.act)


@cache
def _dropped() -> RobotEpisode:
    """The lid is lifted, and let go of in the air."""
    with BimanualWorld(BimanualConfig(cameras=())) as world:
        hands = ScriptedArms()
        hands.start(1)

        def act(reading: RobotReading) -> Float32:
            action = hands.act(reading)
            ticks["n"] += 1
            if ticks["n"] > 122:
                action[13] = 1.0
            return action

        ticks = {"n": 0}
        return play_robot_episode(world, 1, act)


def _marks(episode: RobotEpisode, **config: object) -> list[Mark]:
    assert episode.environment_state is not None
    wanted = ScriptedMarkerConfig().replace(**config)
    marks = bimanual_marks(episode.position, episode.environment_state, episode.success, wanted, episode="e")
    check_marks(marks, len(episode.position), len(wanted.stages))
    return marks


def _top(marks: list[Mark]) -> int:
    return max((mark.stage for mark in marks if not mark.lost), default=0)


@pytest.mark.slow
def test_a_careful_hand_reaches_every_stage_and_a_careless_one_does_not() -> None:
    careful = _played(0.0, 1)
    marks = _marks(careful)
    assert careful.success and [mark.stage for mark in marks] == [1, 2, 3, 4]
    assert not any(mark.lost for mark in marks)
    frames = [mark.frame for mark in marks]
    assert 45 < frames[0] < 85 < frames[1] < 100 < frames[2] < 125, "placed at the end of the descent, then gripped"
    assert frames[3] == len(careful.position) - 1, "it ends with the success"
    failed = [episode for seed in (10_007, 10_017) if not (episode := _played(1.0, seed)).success]
    assert failed and all(_top(_marks(episode)) < 2 for episode in failed)


@pytest.mark.slow
def test_a_lid_that_is_dropped_is_a_setback() -> None:
    dropped = _dropped()
    marks = _marks(dropped)
    assert not dropped.success and _top(marks) == 3
    lost = next(mark for mark in marks if mark.lost)
    assert 120 < lost.frame < 140 and lost.stage <= 2, "with the lid the grip is gone too"


@pytest.mark.slow
def test_fewer_stages_and_no_success_without_the_simulators_word() -> None:
    careful = _played(0.0, 1)
    two = _marks(careful, stages=("held", "lifted"))
    assert [mark.stage for mark in two] == [1, 2]
    assert _top(_marks(replace(careful, success=False))) == 3


@pytest.mark.slow
def test_somebody_inattentive_is_off_and_misses_but_tells_what_can_be() -> None:
    careful, dropped = _played(0.0, 1), _dropped()
    for seed in range(10):
        for episode in (careful, dropped):
            blurred = _marks(episode, off_by=6.0, missed=0.3, seed=seed)
            assert blurred == _marks(episode, off_by=6.0, missed=0.3, seed=seed), "the same seed, the same marks"
    many = [_marks(careful, off_by=6.0, seed=seed) for seed in range(80)]
    exact = _marks(careful)
    off = np.array([[mark.frame for mark in marks[:3]] for marks in many if len(marks) >= 3])
    assert abs(off.mean(axis=0) - [mark.frame for mark in exact[:3]]).max() < 2.5
    assert 4 < off[:, 0].std() < 8
    missing = [_top(_marks(careful, missed=0.2, seed=seed)) for seed in range(80)]
    assert 0.08 < np.mean(np.array(missing) < 4) < 0.36, "only what is missed last is never said"


def test_what_was_not_recorded_in_the_bimanual_world_is_refused() -> None:
    with pytest.raises(UserError, match=r"states \(5, 7\)"):
        bimanual_marks(np.zeros((5, 7), np.float32), np.zeros((5, 10), np.float32), True)
    config = ScriptedMarkerConfig(stages=("lifted", "held"))
    with pytest.raises(UserError, match="not in their order"):
        bimanual_marks(np.zeros((5, 14), np.float32), np.zeros((5, 10), np.float32), True, config)
