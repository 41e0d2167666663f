"""PPO on the arm, by Stable-Baselines3: on a learned reward or the world's own, resumable to the bit.

The training goes in legs of ``checkpoint_rollouts`` rollouts. Each leg begins with every arm at a new episode and with
random states made from (seed, leg), so that weights, optimizer and the leg's number are all a checkpoint has to hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.utils import set_random_seed

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json, publishing, sweep_temporaries
from hitl_ops.models.reach_policy import (
    WEIGHTS_FOLDER,
    ReachPolicyFacts,
    load_reach_policy,
    network_options,
    write_reach_policy,
)
from hitl_ops.models.reward_model import Float32, RewardEnsemble, load_reward
from hitl_ops.training.checkpoint import Identity, LoopState, load_checkpoint, save_checkpoint
from hitl_ops.training.ppo_config import PPOConfig
from hitl_ops.training.tracking import NullTracker, Tracker
from hitl_ops.training.train_log import TrainLog, read_log
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.vector_environment import ReachVecEnv, StepReward

SUMMARY_FILE = "summary.json"
LOG_FILE = "train_log.jsonl"
CHECKPOINTS = "checkpoints"
CARD_FILE = "card.json"
TRUE_REWARD = "true"
"""Stands for the world's own reward where a hash of a learned one would."""


class PPOSummary(BaseModel):
    """What a training came to."""

    steps: int = Field(description="steps of all arms together")
    rollouts: int
    resumed_rollout: int = Field(description="rollouts that were done when this run began; 0: from the start")
    seconds: float = Field(description="of this run")
    steps_per_second: float | None = Field(description="of this run; null where it did none")
    learning_share: float | None = Field(description="of this run's time that went into gradients, not into acting")
    reward_mean: float | None = Field(description="mean reward a step in the last rollout, as learned from")
    true_return: float | None = Field(description="mean true return of the last episodes, m")
    success: float | None = Field(description="share of the last episodes, exploring, that reached the target")
    spread: float = Field(description="mean standard deviation of actions at the end")
    parent: str = Field(description="what it started from; empty: from first weights")
    reward: str = Field(description="hash of the learned reward, or 'true'")
    config: dict[str, Any]
    world: dict[str, Any]


@dataclass(frozen=True)
class CautiousReward:
    """A learned reward as a policy is paid by it: the members' mean, less so many of their standard deviations.

    Attributes:
        model: the ensemble.
        caution: how many.
    """

    model: RewardEnsemble
    caution: float

    def __call__(self, observations: Float32, actions: Float32) -> Float32:
        """See :class:`hitl_ops.worlds.reach.vector_environment.StepReward`."""
        said = self.model.member_rewards(observations, actions)
        paid: Float32 = said.mean(axis=0) - self.caution * said.std(axis=0)
        return paid


class _Rows(KVWriter):
    """Keeps what Stable-Baselines3 notes of an update."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        self.last = dict(key_values)

    def close(self) -> None:
        """Nothing is open."""


class _Legs(BaseCallback):
    """Measures how long acting takes, and tells of every rollout."""

    def __init__(self, told: Callable[[], None]) -> None:
        super().__init__()
        self.acting_s = 0.0
        self._began = 0.0
        self._told = told

    def _on_rollout_start(self) -> None:
        self._began = time.perf_counter()

    def _on_rollout_end(self) -> None:
        self.acting_s += time.perf_counter() - self._began
        self._told()

    def _on_step(self) -> bool:
        return True


def train_ppo(
    config: PPOConfig,
    world: ReachConfig,
    out: Path,
    *,
    reward: Path | None = None,
    start: Path | None = None,
    parent: str = "",
    progress: Progress = silent,
    tracker: Tracker | None = None,
    stop_after: int | None = None,
) -> PPOSummary:
    """Train a policy, or go on with it; publishes ``merged/`` and ``summary.json``.

    Args:
        config: how.
        world: where; its episodes go on when the target is reached, so that all have one length.
        out: the training's folder.
        reward: folder of a learned reward; None: the world's own.
        start: folder of the weights it starts from; None: first weights.
        parent: id of the policy these belong to.
        progress: told of rollouts.
        tracker: told of figures.
        stop_after: end after so many rollouts of this run, at a checkpoint; a test's way to be cut short.

    Raises:
        UserError: the reward or the start does not fit, or a checkpoint in the folder is of something else.
        CannotWrite: the folder cannot be written.
    """
    torch.set_num_threads(1)  # networks this small are slower on several
    tracker = tracker or NullTracker()
    world = world.replace(end_on_success=False)
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    paid, reward_hash = _paid(reward, config)
    arms = ReachVecEnv(config.arms, world, config.seed, paid)
    try:
        trainer = _trainer(config, arms)
        if start is not None:
            _start_from(trainer, start, config)
        identity = Identity.of(
            {
                **{f"ppo/{name}": value for name, value in config.model_dump(mode="json").items()},
                **{f"world/{name}": value for name, value in world.model_dump(mode="json").items()},
                "start": _hash_of(start) if start is not None else "",
            },
            reward_hash,
            1,
        )
        state = load_checkpoint(out / CHECKPOINTS, trainer.policy, trainer.policy.optimizer, identity) or LoopState()
        return _run(
            trainer, arms, config, world, out, identity, state, reward_hash, parent, progress, tracker, stop_after
        )
    finally:
        arms.close()


def _paid(reward: Path | None, config: PPOConfig) -> tuple[StepReward | None, str]:
    if reward is None:
        return None, TRUE_REWARD
    return CautiousReward(load_reward(reward), config.caution), _hash_of(reward)


def _hash_of(folder: Path) -> str:
    """The sha256 of a folder's files."""
    import hashlib

    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _trainer(config: PPOConfig, arms: ReachVecEnv) -> PPO:
    return PPO(
        "MlpPolicy",
        arms,
        learning_rate=config.learning_rate,
        n_steps=config.rollout_steps,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.entropy_coefficient,
        vf_coef=config.value_coefficient,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs=network_options(config.policy),
        seed=config.seed,
        device="cpu",  # networks this small are slower on an accelerator
    )


def _start_from(trainer: PPO, start: Path, config: PPOConfig) -> None:
    weights = load_reach_policy(start).network.state_dict()
    try:
        trainer.policy.load_state_dict(weights)
    except RuntimeError:
        raise UserError(
            f"the policy in '{start}' has other layers than this training's",
            "set ppo.policy to what it was trained with, or start from first weights",
        ) from None
    if config.least_log_std is not None:
        with torch.no_grad():
            trainer.policy.log_std.clamp_(min=config.least_log_std)


def _run(
    trainer: PPO,
    arms: ReachVecEnv,
    config: PPOConfig,
    world: ReachConfig,
    out: Path,
    identity: Identity,
    state: LoopState,
    reward_hash: str,
    parent: str,
    progress: Progress,
    tracker: Tracker,
    stop_after: int | None,
) -> PPOSummary:
    if state.step < config.rollouts:
        # What names other weights goes first: where there is a summary or a card, it is of the weights beside it.
        for name in (SUMMARY_FILE, CARD_FILE):
            (out / name).unlink(missing_ok=True)
    rows = _Rows()
    trainer.set_logger(Logger(folder=None, output_formats=[rows]))
    first = state.step
    log = TrainLog(out / LOG_FILE, first)
    tracker.log_params({"ppo": config.model_dump(mode="json"), "world": world.model_dump(mode="json")})
    began = leg_began = time.perf_counter()
    last = config.rollouts if stop_after is None else min(config.rollouts, first + stop_after)

    def told() -> None:
        # Everything of this rollout is in the buffer, and nothing of it learned from yet.
        rate = _learning_rate(config, state.step)
        trainer.lr_schedule = lambda _: rate
        state.step += 1
        line = {
            "step": state.step,
            "steps": state.step * config.rollout_size,
            # Not the buffer's: Stable-Baselines3 adds the value of what comes after an episode that is cut off.
            "reward": arms.mean_paid(),
            **_episodes(trainer),
            "spread": float(trainer.policy.log_std.exp().mean().detach()),
            **{
                name.removeprefix("train/"): float(value)
                for name, value in rows.last.items()
                if name.startswith("train/")
            },
        }
        log.write(line)
        tracker.log_metrics({name: v for name, v in line.items() if name != "step" and v is not None}, state.step)
        progress(state.step, config.rollouts, f"true return {line['true_return']:.2f}" if line["true_return"] else "")

    legs = _Legs(told)
    try:
        while state.step < last:
            _begin_leg(trainer, arms, config.seed, state.step)
            rollouts = min(config.checkpoint_rollouts - state.step % config.checkpoint_rollouts, last - state.step)
            trainer.learn(rollouts * config.rollout_size, callback=legs, log_interval=1, reset_num_timesteps=True)
            log.sync()
            state.seconds, leg_began = state.seconds + time.perf_counter() - leg_began, time.perf_counter()
            save_checkpoint(out / CHECKPOINTS, trainer.policy, trainer.policy.optimizer, identity, state, keep_last=2)
    finally:
        log.close()
    seconds = time.perf_counter() - began
    done = state.step - first
    with publishing(out / WEIGHTS_FOLDER) as temporary:
        temporary.mkdir()
        write_reach_policy(trainer.policy, ReachPolicyFacts(config=config.policy, world=world), temporary)
    noted = (read_log(out / LOG_FILE) or [{}])[-1]
    summary = PPOSummary(
        steps=state.step * config.rollout_size,
        rollouts=state.step,
        resumed_rollout=first,
        seconds=round(seconds, 2),
        steps_per_second=round(done * config.rollout_size / seconds, 1) if done else None,
        learning_share=round(1 - legs.acting_s / seconds, 4) if done else None,
        reward_mean=noted.get("reward"),
        true_return=noted.get("true_return"),
        success=noted.get("success"),
        spread=float(trainer.policy.log_std.exp().mean().detach()),
        parent=parent,
        reward=reward_hash,
        config=config.model_dump(mode="json"),
        world=world.model_dump(mode="json"),
    )
    publish_json(out / SUMMARY_FILE, summary)
    return summary


def _begin_leg(trainer: PPO, arms: ReachVecEnv, seed: int, rollouts: int) -> None:
    """Make everything random anew from (seed, rollouts done), and let every arm begin an episode."""
    entropy = int(np.random.SeedSequence([seed, rollouts]).generate_state(1)[0])
    set_random_seed(entropy)
    arms.begin_anew(entropy)
    trainer._last_obs = None  # what makes Stable-Baselines3 reset the arms
    trainer.ep_info_buffer = None
    trainer.ep_success_buffer = None


def _learning_rate(config: PPOConfig, rollouts: int) -> float:
    """What it is after so many rollouts."""
    done = rollouts / max(config.rollouts - 1, 1)
    return config.learning_rate * (1 - done * (1 - config.last_learning_rate))


def _episodes(trainer: PPO) -> dict[str, float | None]:
    ended, reached = trainer.ep_info_buffer, trainer.ep_success_buffer
    return {
        "true_return": float(np.mean([one["r"] for one in ended])) if ended else None,
        "success": float(np.mean(list(reached))) if reached else None,
    }
