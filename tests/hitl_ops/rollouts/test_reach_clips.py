"""Clips of the arm: several tries at each target, cut at the same stretch, with what the world says they were worth."""

from __future__ import annotations

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.rollouts.reach_clips import ReachClipConfig, UntaughtReach, reach_clips
from hitl_ops.worlds.reach.config import ReachConfig

WORLD = ReachConfig(max_steps=10)
CONFIG = ReachClipConfig(episodes=3, attempts=2, steps=4, arms=4, wander=0.5)


class Still:
    policy_id = "still"

    def act(self, observations, rng):
        return np.zeros((len(observations), 7), dtype=np.float32)


@pytest.fixture(scope="module")
def clips():
    return reach_clips(Still(), WORLD, CONFIG, "c000")


def test_every_target_is_tried_several_times_over_the_same_stretch(clips):
    assert len(clips) == 6 and len({clip.facts.clip_id for clip in clips}) == 6
    for one, other in zip(clips[::2], clips[1::2], strict=True):
        assert one.facts.episode_id == other.facts.episode_id and one.facts.start == other.facts.start
        assert np.array_equal(one.observations[0, 14:17], other.observations[0, 14:17])
        assert not np.array_equal(one.actions, other.actions)
    assert len({clip.facts.episode_id for clip in clips}) == 3


def test_the_first_attempt_is_the_policy_s_own_and_later_ones_are_led_astray(clips):
    assert all(not clip.actions.any() for clip in clips[::2])
    assert all(np.abs(clip.actions).max() > 0.05 for clip in clips[1::2])
    led = reach_clips(Still(), WORLD, CONFIG.replace(wander=0.0), "c")
    assert all(not clip.actions.any() for clip in led)


def test_true_rewards_are_the_world_s_own_after_each_step(clips):
    for clip in [*clips, *reach_clips(Still(), WORLD, CONFIG.replace(hindsight=1.0), "c000")]:
        distance = np.linalg.norm(clip.observations[:, 17:20] - clip.observations[:, 14:17], axis=1)
        # What a step is worth is seen at its end: in the next step's observation.
        assert np.allclose(-clip.true_rewards[:-1], distance[1:], atol=1e-5)


def test_in_hindsight_the_target_is_near_where_an_attempt_brought_the_hand(clips):
    near = (0.02, 0.05)
    moved = reach_clips(Still(), WORLD, CONFIG.replace(hindsight=1.0, hindsight_m=near), "c000")
    apart = []
    for one, other in zip(moved[::2], moved[1::2], strict=True):
        targets = np.concatenate([one.observations[:, 14:17], other.observations[:, 14:17]])
        assert (targets == targets[0]).all(), "the same of all attempts, throughout"
        hands = np.concatenate([one.observations[:, 17:20], other.observations[:, 17:20]])
        apart.append(np.linalg.norm(hands - targets[0], axis=1).min())
    assert max(apart) < near[1] + 0.05, "the hand may have been seen a step before or after"
    left = reach_clips(Still(), WORLD, CONFIG.replace(hindsight=0.0), "c000")
    for one, other in zip(left, moved, strict=True):
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.observations[:, :14], other.observations[:, :14])
        assert not np.array_equal(one.observations[:, 14:17], other.observations[:, 14:17])
    assert {clip.facts.content_hash for clip in left}.isdisjoint(clip.facts.content_hash for clip in moved)


def test_a_share_of_the_targets_is_moved():
    many = CONFIG.replace(episodes=40, attempts=1, arms=40)
    left = reach_clips(Still(), WORLD, many.replace(hindsight=0.0), "c")
    some = reach_clips(Still(), WORLD, many.replace(hindsight=0.5), "c")
    moved = [one.facts.content_hash != other.facts.content_hash for one, other in zip(left, some, strict=True)]
    assert 10 <= sum(moved) <= 30


def test_distances_of_hindsight_are_an_interval_above_zero():
    for wrong in ((0.0, 0.5), (0.5, 0.1)):
        with pytest.raises(ValueError, match="hindsight_m"):
            ReachClipConfig(hindsight_m=wrong)


def test_the_same_seed_gives_the_same_clips_and_another_one_others(clips):
    again = reach_clips(Still(), WORLD, CONFIG, "c000")
    assert [clip.facts for clip in clips] == [clip.facts for clip in again]
    other = reach_clips(Still(), WORLD, CONFIG.replace(seed=1), "c000")
    assert {clip.facts.content_hash for clip in clips}.isdisjoint(clip.facts.content_hash for clip in other)


def test_several_clips_of_an_attempt_do_not_overlap():
    found = reach_clips(Still(), WORLD, CONFIG.replace(clips_per_attempt=2, attempts=1), "c")
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert one.facts.episode_id == other.facts.episode_id
        assert one.facts.start + 4 <= other.facts.start <= WORLD.max_steps - 4


def test_an_untaught_arm_goes_somewhere_and_stays_for_a_while():
    acts = UntaughtReach(spread=0.5, hold=0.9)
    rng = np.random.default_rng(0)
    seen = np.zeros((200, 20), dtype=np.float32)
    first, second = acts.act(seen, rng), acts.act(seen, rng)
    stayed = (first == second).all(axis=1).mean()
    assert 0.8 < stayed < 0.97 and 0.4 < np.abs(first).max() <= 0.5


def test_a_clip_longer_than_an_episode_is_refused():
    with pytest.raises(UserError, match="longer than an episode"):
        reach_clips(Still(), WORLD, CONFIG.replace(steps=11), "c")
