"""The scripted hand: careful, it succeeds; clumsy, it fails by the physics; always the same for the same seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from hitl_ops.contracts.robot import RobotReading
from hitl_ops.experts.scripted_arms import Mistakes, ScriptedArms, ScriptedArmsConfig
from hitl_ops.rollouts.robot_episode import play_robot_episode
from hitl_ops.worlds.bimanual.world import BimanualConfig, BimanualWorld


@pytest.fixture(scope="module")
def world() -> Iterator[BimanualWorld]:
    with BimanualWorld(BimanualConfig(cameras=())) as made:
        yield made


def successes(world: BimanualWorld, noise: float, seeds: range) -> list[bool]:
    expert = ScriptedArms(ScriptedArmsConfig(noise=noise))
    done = []
    for seed in seeds:
        expert.start(seed)
        done.append(play_robot_episode(world, seed, expert.act).success)
    return done


@pytest.mark.slow
def test_success_falls_with_clumsiness(world: BimanualWorld) -> None:
    careful, clumsy = (sum(successes(world, noise, range(12))) for noise in (0.0, 1.0))
    assert careful >= 11
    assert 1 <= clumsy <= 8


@pytest.mark.slow
def test_the_middling_careless_hand_fails_where_the_middling_good_one_succeeds(world: BimanualWorld) -> None:
    """What makes verdicts worth asking for: copying everyone fails, copying those who succeeded does not."""
    clumsy = ScriptedArmsConfig(noise=1.0)
    drawn = np.array([dataclasses.astuple(Mistakes.drawn(clumsy, seed)) for seed in range(200)])
    careful = drawn[np.argsort(drawn[:, 4])[-66:]]  # the third that closes best: about those that succeed
    done = {}
    for name, mistakes in (("all", np.median(drawn, axis=0)), ("good", np.median(careful, axis=0))):
        expert = ScriptedArms(clumsy)
        done[name] = 0
        for seed in range(1000, 1006):
            expert.start(seed)
            expert.mistakes = Mistakes(*mistakes.tolist())
            done[name] += play_robot_episode(world, seed, expert.act).success
    assert done["all"] <= 1 and done["good"] >= 5


def test_frames_are_what_was_read_and_done(world: BimanualWorld) -> None:
    expert = ScriptedArms(ScriptedArmsConfig(jitter=0.01))
    shown: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    expert.start(4)
    episode = play_robot_episode(world, 4, expert.act, each_frame=lambda _, action: shown.append(action))
    assert episode.success and expert.phase == "hold"
    frames = len(episode.action)
    assert episode.position.shape == episode.velocity.shape == episode.effort.shape == (frames, 14)
    assert episode.environment_state is not None and episode.environment_state.shape == (frames, 10)
    assert np.allclose(np.diff(episode.time), 0.02) and episode.time[0] == 0.0
    assert np.array_equal(np.stack(shown), episode.action)
    # Played again, action by action, the same comes out.
    world.reset(4)
    for number, action in enumerate(episode.action[:-1]):
        reading = world.tick(action)
        assert np.array_equal(reading.position, episode.position[number + 1])
    # The arms follow what they are told.
    assert np.abs(episode.position[1:, :6] - episode.action[:-1, :6]).max() < 0.2


def test_mistakes_are_those_of_the_seeds_and_have_a_habit_in_them() -> None:
    clumsy = ScriptedArmsConfig(noise=1.0)
    drawn = [Mistakes.drawn(clumsy, seed) for seed in range(300)]
    assert drawn[7] == Mistakes.drawn(clumsy, 7) != Mistakes.drawn(clumsy.replace(seed=1), 7)
    # Careless in one thing, careless in the others: reaches short, grips high, closes too little.
    ahead, above, closing = (
        np.array([getattr(each, name) for each in drawn]) for name in ("ahead", "above", "closing")
    )
    assert ahead.mean() < -0.007 and above.mean() > 0.01 and np.median(closing) < 0.7
    assert np.corrcoef(above, closing)[0, 1] < -0.5
    careful = [Mistakes.drawn(ScriptedArmsConfig(), seed) for seed in range(300)]
    assert abs(np.mean([mistake.ahead for mistake in careful])) < 0.001
    assert all(mistake.closing == 1.0 == mistake.patience for mistake in careful)


def test_tremor_shakes_arms_and_not_grippers(world: BimanualWorld) -> None:
    actions = []
    for jitter in (0.0, 0.02):
        expert = ScriptedArms(ScriptedArmsConfig(jitter=jitter))
        expert.start(1)
        reading = world.reset(1)
        actions.append(np.stack([expert.act(reading) for _ in range(30)]))
    apart = actions[1] - actions[0]
    assert (apart[:, [6, 13]] == 0).all()
    assert 0.005 < apart[:, :6].std() < 0.03


def test_a_world_that_does_not_tell_where_the_lid_is_is_refused() -> None:
    zeros = np.zeros(14, dtype=np.float32)
    with pytest.raises(ValueError, match="where the lid is"):
        ScriptedArms().act(RobotReading(zeros, zeros, zeros, 0.0))


def test_constant_clumsiness_is_never_little() -> None:
    drawn = [Mistakes.drawn(ScriptedArmsConfig(noise=1.0, constancy=0.5), seed).closing for seed in range(50)]
    usual = [Mistakes.drawn(ScriptedArmsConfig(noise=1.0), seed).closing for seed in range(50)]
    assert max(drawn) <= 1 - 0.5 * 0.62 < max(usual)
    assert ScriptedArms(ScriptedArmsConfig(noise=1.0, constancy=0.5)).policy_id == "scripted-arms-noise-1-0.5"
