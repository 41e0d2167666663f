"""Clips of the arm: a policy acts in many episodes at once, and fragments of them are cut to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.records.clips import Clip, content_hash
from hitl_ops.worlds.reach.arms import Float32, ReachArms
from hitl_ops.worlds.reach.config import ReachConfig
from hitl_ops.worlds.reach.kinematics import JOINTS, TARGET, end_effector

TASK = "Bring the hand to the red ball."


class ReachActing(Protocol):
    """A policy of the arm."""

    policy_id: str

    def act(self, observations: Float32, rng: np.random.Generator | None) -> Float32:
        """Actions [N, 7] for observations [N, D]; with a random generator it explores, without one it does its best."""


class UntaughtReach:
    """Moves each joint to a place by lot and stays for a while: what there is before anything was learned.

    Over the joints' whole range and seldom anew, so that it gets somewhere: with 0.7 of the range and a new place every
    half second, one step in 150 was within 40 cm of the target, and 60 comparisons said nothing of what is near it.

    Args:
        spread: share of each joint's range its targets are drawn from.
        hold: probability of keeping a target for another step.
    """

    policy_id = ""

    def __init__(self, spread: float = 1.0, hold: float = 0.97) -> None:
        self._spread = spread
        self._hold = hold
        self._targets: Float32 | None = None

    def act(self, observations: Float32, rng: np.random.Generator | None) -> Float32:
        """See :class:`ReachActing`."""
        if rng is None:
            return np.zeros((len(observations), JOINTS), dtype=np.float32)
        drawn = rng.uniform(-self._spread, self._spread, (len(observations), JOINTS)).astype(np.float32)
        if self._targets is None or len(self._targets) != len(observations):
            self._targets = drawn
        else:
            new = rng.random(len(observations)) > self._hold
            self._targets[new] = drawn[new]
        return self._targets.copy()


class ReachClipConfig(StrictConfig):
    """How clips of the arm are made."""

    episodes: int = Field(default=50, ge=1, description="targets; each is tried several times")
    attempts: int = Field(
        default=4, ge=1, le=26, description="tries at each target, so that there are clips of one task to compare"
    )
    wander: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="how far the last attempt's joints are led astray, as a share of their "
        "range; the first is the policy's own, those between are led astray less",
    )
    wander_hold: float = Field(default=0.9, ge=0, lt=1, description="probability that a joint stays astray as it is")
    hindsight: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the targets that are put, once the attempts are made, near where one of them brought the "
        "hand: what is good near a target is then asked about before any policy comes near one",
    )
    hindsight_m: tuple[float, float] = Field(
        default=(0.01, 0.5), description="m, how near: as often from 1 to 2 cm as from 20 to 40"
    )
    steps: int = Field(default=25, ge=1, description="steps of a clip; at 20 a second, 25 are a clip of 1.25 s")
    clips_per_attempt: int = Field(default=1, ge=1, description="at most; they do not overlap")
    arms: int = Field(default=16, ge=1, description="episodes at once")
    seed: int = Field(default=0, description="of episodes, and of what the policy tries")

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        low, high = self.hindsight_m
        if not 0 < low <= high:
            raise ValueError("hindsight_m is from a distance above 0 to one that is not smaller")
        return self


def reach_clips(
    policy: ReachActing, world: ReachConfig, config: ReachClipConfig, prefix: str, progress: Progress = silent
) -> list[Clip]:
    """Let a policy act, exploring as in training, and cut its episodes into clips.

    Args:
        policy: who acts.
        world: the arm's world; an episode goes on when the target is reached, so that all clips have one length.
        config: how many, how long.
        prefix: of the clips' ids, which have to be unique in a program.
        progress: told of episodes.

    Returns:
        The clips, with observations, actions and what the world says each step was worth.

    Raises:
        UserError: a clip is longer than an episode.
    """
    if config.steps > world.max_steps:
        raise UserError(
            f"a clip of {config.steps} steps is longer than an episode of {world.max_steps}", "lower clips.steps"
        )
    rng = np.random.default_rng([config.seed, 7])
    seeds = [int(seed) for seed in np.random.default_rng([config.seed, 11]).integers(2**62, size=config.episodes)]
    starts = [_starts(world, config, rng) for _ in seeds]
    tries = [(episode, attempt) for episode in range(config.episodes) for attempt in range(config.attempts)]
    arms = ReachArms(min(config.arms, len(tries)), world.replace(end_on_success=False))
    played: list[_Played] = []
    try:
        for first in range(0, len(tries), arms.count):
            batch = tries[first : first + arms.count]
            played += _play(policy, arms, [seeds[episode] for episode, _ in batch], [a for _, a in batch], config, rng)
            progress(first + len(batch), len(tries), "attempts")
    finally:
        arms.close()
    chance = np.random.default_rng([config.seed, 13])
    found: list[Clip] = []
    for number, seed in enumerate(seeds):
        attempts = played[number * config.attempts : (number + 1) * config.attempts]
        if chance.random() < config.hindsight:
            _put_target(attempts, starts[number], config, chance)
        for attempt, episode in enumerate(attempts):
            for start in starts[number]:
                name = f"{prefix}-{number:04d}{chr(ord('a') + attempt)}-{start:03d}"
                found.append(_cut(episode, name, start, seed, policy.policy_id, world, config.steps))
    return found


@dataclass(frozen=True)
class _Played:
    """An episode as it went: observations [T, D], actions [T, 7], hands after each step [T, 3]; rewards follow."""

    observations: Float32
    actions: Float32
    hands: npt.NDArray[np.float64]

    @property
    def rewards(self) -> Float32:
        """The world's own, [T]: minus the distance that each step ended at, in m."""
        target = self.observations[:, TARGET].astype(np.float64)
        return np.asarray(-np.linalg.norm(self.hands - target, axis=1), dtype=np.float32)


def _put_target(
    attempts: Sequence[_Played], starts: Sequence[int], config: ReachClipConfig, rng: np.random.Generator
) -> None:
    """Put the target of all attempts near where one of them brought the hand, within a clip.

    As hindsight experience replay has it (Andrychowicz et al. 2017): the movement stays, the goal is another.
    """
    hands = attempts[int(rng.integers(len(attempts)))].hands
    hand = hands[starts[int(rng.integers(len(starts)))] + int(rng.integers(config.steps))]
    aside = rng.normal(size=3)
    far = np.exp(rng.uniform(*np.log(config.hindsight_m)))
    target = hand + far * aside / np.linalg.norm(aside)
    for attempt in attempts:
        attempt.observations[:, TARGET] = target


def _play(
    policy: ReachActing,
    arms: ReachArms,
    seeds: Sequence[int],
    attempts: Sequence[int],
    config: ReachClipConfig,
    rng: np.random.Generator,
) -> list[_Played]:
    """One episode of every arm that is needed."""
    world, count = arms.config, arms.count
    observations: Float32 = np.zeros((count, world.observation_size), dtype=np.float32)
    observations[: len(seeds)] = arms.begin(range(len(seeds)), seeds)
    strength = np.zeros((count, 1))
    strength[: len(seeds), 0] = [config.wander * attempt / max(config.attempts - 1, 1) for attempt in attempts]
    astray = rng.uniform(-1, 1, (count, JOINTS)) * strength
    seen, done, after = [], [], []
    for _ in range(world.max_steps):
        actions = np.clip(policy.act(observations, rng) + astray, -1.0, 1.0).astype(np.float32)
        stepped = arms.step(actions)
        seen.append(observations)
        done.append(actions)
        observations = stepped.observations
        after.append(end_effector(observations[:, :JOINTS]))
        anew = rng.random((count, JOINTS)) > config.wander_hold
        astray = np.where(anew, rng.uniform(-1, 1, (count, JOINTS)) * strength, astray)
    columns = np.stack(seen, axis=1), np.stack(done, axis=1), np.stack(after, axis=1)
    return [_Played(columns[0][arm], columns[1][arm], columns[2][arm]) for arm in range(len(seeds))]


def _starts(world: ReachConfig, config: ReachClipConfig, rng: np.random.Generator) -> list[int]:
    """Where an episode's clips begin, the same in every attempt, so that they show the same stretch of the task."""
    count = min(config.clips_per_attempt, world.max_steps // config.steps)
    gaps = np.sort(rng.integers(0, world.max_steps - count * config.steps + 1, size=count))
    return [int(gap) + part * config.steps for part, gap in enumerate(gaps)]


def _cut(episode: _Played, name: str, start: int, seed: int, policy_id: str, world: ReachConfig, steps: int) -> Clip:
    parts = episode.observations, episode.actions, episode.rewards
    observations, actions, rewards = (np.ascontiguousarray(part[start : start + steps]) for part in parts)
    facts = ClipFacts(
        clip_id=name,
        kind="reach",
        episode_id=f"reach/{seed}",
        start=start,
        steps=steps,
        fps=float(world.control_hz),
        task=TASK,
        policy_id=policy_id,
        seed=seed,
        content_hash=content_hash(observations, actions),
    )
    return Clip(facts, observations, actions, rewards)
