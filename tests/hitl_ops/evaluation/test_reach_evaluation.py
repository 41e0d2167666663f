"""The arm's examination: the same targets for all, reaching and holding told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.reach_evaluation import ReachEvaluationConfig, evaluate_reach_policies, play_targets
from hitl_ops.evaluation.summary import EvaluationConfig
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.kinematics import JOINT_LIMITS, end_effector

WORLD = ReachConfig(max_steps=30)


class Solving:
    """Turns towards the target by the hand's slope, knowing the arm's geometry; leaves again where it is told to."""

    policy_id = "solving"

    def __init__(self, leaves: bool = False) -> None:
        self.leaves = leaves
        self.asked = 0

    def act(self, observations, rng):
        self.asked += 1
        if self.leaves and self.asked % WORLD.max_steps > 24:
            return np.zeros((len(observations), 7), dtype=np.float32)
        joints = observations[:, :7].astype(np.float64)
        for _ in range(30):
            hands = end_effector(joints)
            slopes = np.stack([(end_effector(joints + 1e-5 * np.eye(7)[j]) - hands) / 1e-5 for j in range(7)], axis=2)
            damped = slopes @ slopes.transpose(0, 2, 1) + 1e-3 * np.eye(3)
            miss = (observations[:, 14:17] - hands)[:, :, None]
            joints += np.clip((slopes.transpose(0, 2, 1) @ np.linalg.solve(damped, miss))[:, :, 0], -0.2, 0.2)
        return np.clip(joints / JOINT_LIMITS, -1, 1).astype(np.float32)


class Still:
    policy_id = "still"

    def act(self, observations, rng):
        return np.zeros((len(observations), 7), dtype=np.float32)


def test_reaching_and_holding_are_told_apart():
    seeds = list(range(12))
    stays, leaves = play_targets(Solving(), WORLD, seeds, arms=12), play_targets(Solving(True), WORLD, seeds, arms=12)
    assert stays.reached.mean() > 0.8 and stays.held.mean() > 0.8
    assert leaves.reached.sum() == stays.reached.sum() and leaves.held.sum() == 0
    assert (stays.steps[stays.reached] < WORLD.max_steps).all()
    still = play_targets(Still(), WORLD, seeds, arms=12)
    assert not still.reached.any() and (still.steps == WORLD.max_steps).all()
    assert np.allclose(still.first, still.last, atol=0.02)


def test_how_many_play_at_once_changes_nothing():
    few, many = (play_targets(Solving(), WORLD, list(range(5)), arms=arms) for arms in (2, 5))
    assert np.array_equal(few.last, many.last) and np.array_equal(few.reached, many.reached)


def test_all_play_the_same_targets_and_are_compared(tmp_path: Path):
    config = ReachEvaluationConfig(targets=8, arms=8, scoring=EvaluationConfig(reference="serving", resamples=200))
    players = {"student": Solving(), "serving": Still()}
    summary = evaluate_reach_policies(
        players, WORLD, tmp_path, config, policy_ids={name: one.policy_id for name, one in players.items()}
    )
    assert summary.primary("student").success.mean > 0.7 and summary.primary("serving").success.mean == 0
    _, scores = read_evaluation(tmp_path)
    assert scores["student"].keys() == scores["serving"].keys()
    assert all(score.explanation.startswith("came no nearer than") for score in scores["serving"].values())
    assert summary.comparisons["student_over_serving"]["val"].success.difference > 0.7


def test_another_world_or_other_targets_are_another_set():
    config = ReachEvaluationConfig()
    sets = {
        config.episode_set(WORLD),
        config.replace(seed=1).episode_set(WORLD),
        config.replace(targets=9).episode_set(WORLD),
        config.episode_set(WORLD.replace(success_m=0.04)),
    }
    assert len(sets) == 4


def test_a_policy_of_another_world_is_one_clear_line(tmp_path: Path):
    class Narrow(Still):
        def act(self, observations, rng):
            return (observations @ np.zeros((17, 7))).astype(np.float32)

    with pytest.raises(UserError, match="cannot act in this world"):
        evaluate_reach_policies(
            {"student": Narrow()}, WORLD, tmp_path, ReachEvaluationConfig(targets=2), policy_ids={"student": "x"}
        )


def test_the_last_targets_are_others() -> None:
    config = ReachEvaluationConfig(targets=10, seed=100, final_seed=110)
    final = config.final()
    seeds = [set(range(one.seed, one.seed + one.targets)) for one in (config, final)]
    assert not seeds[0] & seeds[1] and len(seeds[1]) == 10
    with pytest.raises(ValidationError, match="shares targets with seed 100"):
        ReachEvaluationConfig(targets=10, seed=100, final_seed=109)
