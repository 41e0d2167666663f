"""The scripted hands of gym-aloha's tasks: careful, they succeed; clumsy, they fail by the physics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import RobotReading
from hitl_ops.experts.scripted_aloha import Mistakes, ScriptedAloha
from hitl_ops.experts.scripted_arms import ScriptedArmsConfig
from hitl_ops.experts.scripted_robots import scripted_expert
from hitl_ops.rollouts.robot_episode import play_robot_episode
from hitl_ops.worlds.aloha.world import AlohaConfig, AlohaWorld

pytest.importorskip("gym_aloha", reason="gym-aloha is not installed (extra 'aloha')")


def successes(task: str, noise: float, seeds: range, mistakes: Mistakes | None = None) -> int:
    expert = ScriptedAloha(ScriptedArmsConfig(noise=noise))
    done = 0
    with AlohaWorld(AlohaConfig(task=task, cameras=())) as world:
        for seed in seeds:
            expert.start(seed)
            expert.mistakes = mistakes or expert.mistakes
            done += play_robot_episode(world, seed, expert.act).success
    return done


@pytest.mark.slow
@pytest.mark.parametrize("task", ["transfer_cube", "insertion"])
def test_success_falls_with_clumsiness(task: str) -> None:
    assert successes(task, 0.0, range(8)) == 8
    assert 1 <= successes(task, 1.0, range(12)) <= 8


@pytest.mark.slow
def test_the_middling_careless_hand_fails_where_the_middling_good_one_succeeds() -> None:
    """What makes verdicts worth asking for: copying everyone fails, copying those who succeeded does not."""
    drawn = np.array([dataclasses.astuple(Mistakes.drawn(ScriptedArmsConfig(noise=1.0), seed)) for seed in range(200)])
    careful = drawn[np.argsort(drawn[:, 4])[-66:]]  # the third that closes best: about those that succeed
    seeds = range(1000, 1005)
    assert successes("transfer_cube", 1.0, seeds, Mistakes(*np.median(drawn, axis=0).tolist())) <= 1
    assert successes("transfer_cube", 1.0, seeds, Mistakes(*np.median(careful, axis=0).tolist())) == 5


def test_mistakes_are_those_of_the_seeds_and_have_a_habit_in_them() -> None:
    clumsy = ScriptedArmsConfig(noise=1.0)
    drawn = [Mistakes.drawn(clumsy, seed) for seed in range(300)]
    assert drawn[7] == Mistakes.drawn(clumsy, 7) != Mistakes.drawn(clumsy.replace(seed=1), 7)
    short, closing = (np.array([getattr(each, name) for each in drawn]) for name in ("short", "closing"))
    assert np.median(short) > 0.02 and np.median(closing) < 0.5
    assert np.corrcoef(short, closing)[0, 1] < -0.8  # careless in one thing, careless in the others
    careful = [Mistakes.drawn(ScriptedArmsConfig(), seed) for seed in range(300)]
    assert abs(np.mean([mistake.ahead for mistake in careful])) < 0.001
    assert all(mistake.closing == 1.0 for mistake in careful)


def test_a_hand_over_is_done_to_its_end_when_nobody_stops_it() -> None:
    expert = ScriptedAloha()
    expert.start(2)
    with AlohaWorld(AlohaConfig(cameras=())) as world:
        episode = play_robot_episode(world, 2, expert.act, stop_after_success=False)
        reading = world.tick(world.home)
    assert episode.success and expert.phase == "hold" and len(episode.action) == 400
    assert episode.environment_state is not None and reading.environment_state is not None
    # The cube went with the left hand, up and to its side.
    assert episode.environment_state[-1, 2] > 0.15 and episode.environment_state[-1, 0] < -0.03
    # Arms follow what they are told, and are told nothing sudden.
    assert np.abs(episode.position[1:, :6] - episode.action[:-1, :6]).max() < 0.35
    assert np.abs(np.diff(episode.action, axis=0))[:, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]].max() < 0.06


def test_worlds_and_experts_belong_together() -> None:
    assert scripted_expert("aloha", ScriptedArmsConfig(noise=0.5)).policy_id == "scripted-aloha-noise-0.5"
    assert scripted_expert("bimanual").policy_id == "scripted-arms-noise-0"
    with pytest.raises(UserError, match="no robot world 'kitchen'"):
        scripted_expert("kitchen")
    zeros = np.zeros(14, dtype=np.float32)
    with pytest.raises(ValueError, match="where the cube"):
        ScriptedAloha().act(RobotReading(zeros, zeros, zeros, 0.0))
