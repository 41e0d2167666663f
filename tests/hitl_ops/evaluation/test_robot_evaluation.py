"""Policies for robots, scored: the same episodes for all, side by side or one by one, gone on with when cut short."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32, RobotSpec
from hitl_ops.evaluation import robot_evaluation
from hitl_ops.evaluation.evaluate import read_evaluation
from hitl_ops.evaluation.gate import GateConfig, evaluated_policy, gate
from hitl_ops.evaluation.robot_evaluation import RobotEvaluationConfig, evaluate_robot_policies
from hitl_ops.evaluation.summary import EvaluationSummary
from hitl_ops.experts.scripted_arms import ScriptedArms
from hitl_ops.models.robot_policy import HoldPolicy
from hitl_ops.rollouts.robot_episode import play_robot_episode
from hitl_ops.rollouts.robot_rollouts import play_policy_episodes
from hitl_ops.worlds.robot_worlds import make_robot_world

OPTIONS: dict[str, Any] = {"cameras": []}


def spec(**changes: Any) -> RobotSpec:
    world = make_robot_world("bimanual", OPTIONS)
    try:
        return RobotSpec.model_validate({**world.spec.model_dump(), **changes})
    finally:
        world.close()


def settings(**changes: Any) -> RobotEvaluationConfig:
    told = {"world_options": OPTIONS, "episodes": 3, "processes": 1, "scoring": {"resamples": 100}, **changes}
    return RobotEvaluationConfig.model_validate(told)


class Remembering:
    """A policy that plays back, from one starting state, what a careful hand did in that very episode."""

    max_batch = 2

    def __init__(self, seeds: Sequence[int]) -> None:
        world = make_robot_world("bimanual", OPTIONS)
        self.spec = world.spec
        self.metadata: dict[str, Any] = {}
        self.prompts: list[str] = []
        self._plans: list[tuple[Float32, Float32]] = []
        hand = ScriptedArms()
        for seed in seeds:
            hand.start(seed)
            played = play_robot_episode(world, seed, hand.act)
            assert played.success and played.environment_state is not None
            self._plans.append((played.environment_state[0], np.concatenate([played.action, played.action[-1:]])))
        world.close()

    def infer(self, observations: Sequence[dict[str, Any]]) -> list[Float32]:
        assert len(observations) <= self.max_batch
        self.prompts += [observation["prompt"] for observation in observations]
        first = [observation["environment_state"] for observation in observations]
        plans = [min(self._plans, key=lambda plan: float(np.abs(plan[0] - state).sum()))[1] for state in first]
        return plans


@pytest.mark.slow
def test_policies_succeed_where_their_actions_do_side_by_side() -> None:
    seeds = [11, 12, 13]
    policy = Remembering(seeds)
    worlds = [make_robot_world("bimanual", OPTIONS) for _ in seeds]
    try:
        together = play_policy_episodes(policy, worlds, seeds, chunk_steps=400, blend_steps=0)
        assert all(one.success and not one.failure for one in together)
        assert all(prompt == "Lift the lid off the bowl, Advantage=True" for prompt in policy.prompts)
        alone = play_policy_episodes(policy, worlds[:1], seeds[:1], chunk_steps=400, blend_steps=0)
        assert (alone[0].seed, alone[0].ticks) == (together[0].seed, together[0].ticks)
        held = play_policy_episodes(HoldPolicy(policy.spec), worlds[:1], [99])
        assert (held[0].success, held[0].failure) == (False, "the lid was not lifted")
    finally:
        for world in worlds:
            world.close()


@pytest.mark.slow
@pytest.mark.integration
def test_what_was_played_is_kept_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HoldPolicy(spec()).save(tmp_path / "hold")
    monkeypatch.setattr(robot_evaluation, "_PART", 2)
    told: list[tuple[int, int]] = []
    policies, ids = {"policy": tmp_path / "hold"}, {"policy": "station-001-0"}

    def evaluate(code: str) -> EvaluationSummary:
        told.clear()
        return evaluate_robot_policies(
            policies,
            tmp_path / "out",
            settings(),
            lambda done, total, _="": told.append((done, total)),
            policy_ids=ids,
            code_version=code,
        )

    summary = evaluate("a")
    assert told[-1] == (3, 3)
    assert summary.primary("policy").success.mean == 0.0
    again = read_evaluation(tmp_path / "out")[1]["policy"]
    assert {score.explanation for score in again.values()} == {"the lid was not lifted"}
    assert {score.sim_steps for score in again.values()} == {300}
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "parts").iterdir()}
    next(iter(kept)).unlink()
    evaluate("a")
    assert told[0][0] in (1, 2)  # only the group that is gone is played again
    evaluate("b")
    assert told[0][0] == 0  # other code, other physics
    one = evaluated_policy(tmp_path / "out", "station-001-0")
    assert gate(one, None, GateConfig(resamples=100)).promote


def test_a_folder_that_holds_another_policy_now_is_read_again(tmp_path: Path) -> None:
    for hertz, policy_id in ((50, "one"), (30, "two"), (30, "one")):
        HoldPolicy(spec(frequency_hz=hertz)).save(tmp_path / "policy")
        told: dict[str, Any] = {"policy_ids": {"policy": policy_id}, "code_version": str(hertz)}
        refused = pytest.raises(UserError, match="at 30 Hz") if hertz == 30 else contextlib.nullcontext()
        with refused:
            evaluate_robot_policies({"policy": tmp_path / "policy"}, tmp_path / "out", settings(episodes=1), **told)


def test_a_policy_for_another_robot_is_refused() -> None:
    world = make_robot_world("bimanual", OPTIONS)
    try:
        slower = HoldPolicy(spec(frequency_hz=30))
        with pytest.raises(UserError, match="at 30 Hz"):
            play_policy_episodes(slower, [world], [0])
        blind = HoldPolicy(spec(cameras=[{"name": "cam_moon"}]))
        with pytest.raises(UserError, match="needs 'cam_moon'"):
            play_policy_episodes(blind, [world], [0])
    finally:
        world.close()


def test_equal_episodes_have_equal_names() -> None:
    assert settings().episode_set == settings(processes=2, chunk_steps=9).episode_set
    assert len({settings(**change).episode_set for change in ({}, {"seed": 1}, {"episodes": 4}, {"world": "x"})}) == 4
