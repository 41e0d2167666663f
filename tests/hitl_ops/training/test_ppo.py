"""PPO on the arm: paid by what it is told, resumed to the bit, kept without pickle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy
from hitl_ops.models.reach_policy_config import ReachPolicyConfig
from hitl_ops.models.reward_config import RewardModelConfig
from hitl_ops.models.reward_model import RewardEnsemble, save_reward
from hitl_ops.training.ppo import CautiousReward, train_ppo
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.vector_environment import ReachVecEnv

WORLD = ReachConfig(max_steps=8, control_hz=120)
TINY = PPOConfig(
    policy=ReachPolicyConfig(hidden=(8,)),
    total_steps=4 * 32,
    arms=4,
    rollout_steps=8,
    batch_size=16,
    epochs=2,
    checkpoint_rollouts=1,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS_FOLDER / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_cut_short_and_gone_on_with_it_ends_as_if_it_never_stopped(tmp_path: Path):
    whole = train_ppo(TINY, WORLD, tmp_path / "whole")
    train_ppo(TINY, WORLD, tmp_path / "parts", stop_after=1)
    train_ppo(TINY, WORLD, tmp_path / "parts", stop_after=2)
    last = train_ppo(TINY, WORLD, tmp_path / "parts")
    assert (whole.rollouts, last.rollouts, last.resumed_rollout) == (4, 4, 3)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    logs = [(tmp_path / name / "train_log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    assert [json.loads(line)["reward"] for line in logs[0]] == [json.loads(line)["reward"] for line in logs[1]]
    done = train_ppo(TINY, WORLD, tmp_path / "whole")
    assert done.resumed_rollout == 4 and done.steps_per_second is None


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(tmp_path: Path):
    config = TINY.replace(total_steps=16 * 32)
    train_ppo(config, WORLD, tmp_path / "whole")
    code = (
        "import sys; from pathlib import Path; from tests.hitl_ops.training.test_ppo import TINY, WORLD, train_ppo; "
        "train_ppo(TINY.replace(total_steps=16 * 32), WORLD, Path(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "killed")], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (tmp_path / "killed" / "checkpoints" / "step_000005").exists():
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    last = train_ppo(config, WORLD, tmp_path / "killed")
    assert 0 < last.resumed_rollout < 16
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))


def reward(folder: Path, seed: int, members: int = 3) -> Path:
    save_reward(RewardEnsemble(RewardModelConfig(members=members, hidden=(4,)), 20, 7, seed), folder)
    return folder


def test_it_is_paid_by_the_learned_reward_and_the_world_s_own_only_where_told(tmp_path: Path):
    true = train_ppo(TINY, WORLD, tmp_path / "true")
    one = train_ppo(TINY, WORLD, tmp_path / "one", reward=reward(tmp_path / "r1", 1))
    two = train_ppo(TINY, WORLD, tmp_path / "two", reward=reward(tmp_path / "r2", 2))
    assert len({true.reward_mean, one.reward_mean, two.reward_mean}) == 3
    assert true.reward == "true" and one.reward != two.reward
    assert true.true_return is not None and true.true_return < 0


def test_what_steps_were_worth_is_told_as_it_was_paid():
    """Stable-Baselines3 adds the value of what comes after to the rewards of episodes that are cut off."""
    arms = ReachVecEnv(2, WORLD.replace(end_on_success=False), 0, lambda observations, _: np.ones(len(observations)))
    arms.reset()
    for _ in range(2 * WORLD.max_steps):
        arms.step(np.zeros((2, 7), dtype=np.float32))
    assert arms.mean_paid() == 1.0 and arms.mean_paid() == 0.0
    arms.close()


def test_a_shorter_training_is_not_read_out_of_a_longer_one(tmp_path: Path):
    train_ppo(TINY, WORLD, tmp_path / "out")
    with pytest.raises(UserError):
        train_ppo(TINY.replace(total_steps=32), WORLD, tmp_path / "out")


def test_where_there_is_a_summary_it_is_of_the_weights_beside_it(tmp_path: Path):
    train_ppo(TINY, WORLD, tmp_path / "out", stop_after=1)
    (tmp_path / "out" / "card.json").write_text("{}")
    train_ppo(TINY, WORLD, tmp_path / "out", stop_after=1)
    assert not (tmp_path / "out" / "card.json").exists()


def test_a_checkpoint_of_another_reward_is_not_gone_on_with(tmp_path: Path):
    train_ppo(TINY, WORLD, tmp_path / "out", reward=reward(tmp_path / "r1", 1), stop_after=1)
    with pytest.raises(UserError):
        train_ppo(TINY, WORLD, tmp_path / "out", reward=reward(tmp_path / "r2", 2))


def test_caution_takes_off_what_members_disagree_about(tmp_path: Path):
    model = RewardEnsemble(RewardModelConfig(members=4, hidden=(4,)), 20, 7)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(50, 20)).astype(np.float32)
    done = rng.uniform(-1, 1, (50, 7)).astype(np.float32)
    spread = model.member_rewards(seen, done).std(axis=0)
    bold, careful = CautiousReward(model, 0.0)(seen, done), CautiousReward(model, 2.0)(seen, done)
    assert np.allclose(bold - careful, 2 * spread, atol=1e-5) and spread.max() > 0.01


def test_the_reward_sees_what_was_observed_before_the_action():
    seen = []

    def note(observations, actions):
        seen.append((observations.copy(), actions.copy()))
        return np.zeros(len(actions))

    arms = ReachVecEnv(2, WORLD.replace(end_on_success=False), 0, note)
    first = arms.reset()
    action = np.full((2, 7), 0.2, dtype=np.float32)
    second, *_ = arms.step(action)
    assert np.array_equal(seen[0][0], first) and np.array_equal(seen[0][1], action)
    assert not np.array_equal(first, second)
    arms.close()


def test_an_arm_begins_anew_when_its_time_is_up_and_tells_how_it_ended():
    arms = ReachVecEnv(3, WORLD.replace(end_on_success=False), 0)
    first = arms.reset()
    for step in range(WORLD.max_steps):
        seen, _, over, infos = arms.step(np.zeros((3, 7), dtype=np.float32))
        assert over.all() == (step + 1 == WORLD.max_steps)
    assert all(info["TimeLimit.truncated"] and info["episode"]["l"] == WORLD.max_steps for info in infos)
    assert not np.array_equal(seen[:, 14:17], first[:, 14:17])  # new targets
    assert all(
        np.array_equal(info["terminal_observation"][14:17], row[14:17]) for info, row in zip(infos, first, strict=True)
    )
    arms.close()


def test_a_warm_start_goes_on_from_the_weights_and_explores_again(tmp_path: Path):
    train_ppo(TINY, WORLD, tmp_path / "first")
    begun = TINY.replace(least_log_std=0.5, learning_rate=1e-12)
    train_ppo(begun, WORLD, tmp_path / "next", start=tmp_path / "first" / WEIGHTS_FOLDER)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "next")
    assert torch.allclose(before["action_net.weight"], after["action_net.weight"], atol=1e-6)
    assert torch.allclose(after["log_std"], torch.full_like(after["log_std"], 0.5), atol=1e-6)
    with pytest.raises(UserError, match="other layers"):
        train_ppo(
            TINY.replace(policy=ReachPolicyConfig(hidden=(9,)).model_dump()),
            WORLD,
            tmp_path / "other",
            start=tmp_path / "first" / WEIGHTS_FOLDER,
        )


def test_a_policy_acts_as_stable_baselines_would_and_within_bounds(tmp_path: Path):
    train_ppo(TINY, WORLD, tmp_path / "out")
    policy = load_reach_policy(tmp_path / "out" / WEIGHTS_FOLDER)
    seen = np.random.default_rng(0).normal(size=(5, 20)).astype(np.float32)
    theirs, _ = policy.network.predict(seen, deterministic=True)
    assert np.allclose(policy.act(seen, None), theirs, atol=1e-6)
    tried = policy.act(seen, np.random.default_rng(1))
    assert np.abs(tried).max() <= 1 and not np.array_equal(tried, policy.act(seen, None))
    assert not list((tmp_path / "out").rglob("*.zip")) and not list((tmp_path / "out").rglob("*.pkl"))


@pytest.mark.parametrize("file", ["policy.json", "model.safetensors"])
def test_a_damaged_policy_is_one_clear_line(tmp_path: Path, file):
    train_ppo(TINY, WORLD, tmp_path / "out", stop_after=1)
    (tmp_path / "out" / WEIGHTS_FOLDER / file).write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read"):
        load_reach_policy(tmp_path / "out" / WEIGHTS_FOLDER)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, Path]:
    """A learned reward, and what comes of it as usual."""
    folder = tmp_path_factory.mktemp("plain")
    learned = reward(folder / "reward", 1)
    train_ppo(TINY, WORLD, folder / "usual", reward=learned)
    return learned, folder / "usual"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 1e-4),
        ("last_learning_rate", 1.0),
        ("gamma", 0.5),
        ("gae_lambda", 0.1),
        ("clip_range", 0.01),
        ("value_coefficient", 5.0),
        ("entropy_coefficient", 1.0),
        ("max_grad_norm", 0.001),
        ("epochs", 1),
        ("batch_size", 8),
        ("rollout_steps", 16),
        ("arms", 2),
        ("total_steps", 64),
        ("checkpoint_rollouts", 3),
        ("seed", 1),
        ("caution", 3.0),
        ("policy", {"activation": "tanh"}),
        ("policy", {"log_std": 0.5}),
        ("policy", {"hidden": [8, 8]}),
    ],
)
def test_every_field_changes_what_is_trained(tmp_path: Path, plain, field, value):
    learned, usual = plain
    changed = TINY.replace(**{field: {**TINY.policy.model_dump(), **value} if field == "policy" else value})
    train_ppo(changed, WORLD, tmp_path / "b", reward=learned)
    one, other = weights(usual), weights(tmp_path / "b")
    seen = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    acts = [load_reach_policy(folder / WEIGHTS_FOLDER).act(seen, None) for folder in (usual, tmp_path / "b")]
    assert one.keys() != other.keys() or not np.array_equal(*acts) or not same(one, other)


def test_a_batch_larger_than_a_rollout_is_refused():
    with pytest.raises(ValueError, match="more than a rollout"):
        PPOConfig(arms=2, rollout_steps=8, batch_size=64)
