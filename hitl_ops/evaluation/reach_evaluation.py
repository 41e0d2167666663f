"""Policies of the arm, scored on targets nobody trained on: the same ones for each, so that any two can be compared."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.evaluation.evaluate import Scores, publish_evaluation
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import EvaluationConfig, EvaluationSummary, check_policy_names
from hitl_ops.rollouts.reach_clips import TASK, ReachActing
from hitl_ops.worlds.reach.arms import ReachArms
from hitl_ops.worlds.reach.config import ReachConfig

SPLIT = "val"


class ReachEvaluationConfig(StrictConfig):
    """On which targets policies are scored."""

    targets: int = Field(default=200, ge=1, le=100_000, description="episodes each policy plays")
    seed: int = Field(
        default=20_000_000,
        ge=0,
        description="the first episode's seed; the others follow. Training draws its own "
        "seeds from 62 bits, so that it meets none of these",
    )
    final_seed: int = Field(
        default=30_000_000,
        ge=0,
        description="the first of as many other episodes: by those of `seed` policies are chosen over and over, by "
        "these none is; what serves in the end is scored on them once more",
    )
    arms: int = Field(default=50, ge=1, description="episodes at once")
    scoring: EvaluationConfig = Field(
        default=EvaluationConfig(reference="serving"), description="intervals and comparison"
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if abs(self.final_seed - self.seed) < self.targets:
            raise ValueError(f"final_seed {self.final_seed} shares targets with seed {self.seed}")
        return self

    def final(self) -> ReachEvaluationConfig:
        """The same examination on the targets that nobody is chosen by."""
        return self.replace(seed=self.final_seed, final_seed=self.seed)

    def episode_set(self, world: ReachConfig) -> str:
        """Hash over what decides the episodes: equal hashes, equal episodes."""
        told = {"targets": self.targets, "seed": self.seed, "world": world.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class ReachPlayed:
    """How a policy did on some targets, a row a target.

    Attributes:
        reached: [N], whether the hand came within the world's ``success_m`` at some step.
        held: [N], whether it was there at the end.
        nearest: [N] m, the least distance.
        last: [N] m, the distance at the end.
        steps: [N], steps until it was there first; all of them where it never was.
        first: [N] m, the distance at the start.
        seconds: of each time the policy was asked, for many targets at once.
        decisions: how often it was asked for each target.
    """

    reached: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    first: npt.NDArray[np.float64]
    seconds: list[float]
    decisions: int


def play_targets(policy: ReachActing, world: ReachConfig, seeds: list[int], arms: int = 50) -> ReachPlayed:
    """Let a policy do its best on some targets; every episode goes on to its end, so that holding is seen too.

    Args:
        policy: who acts.
        world: where.
        seeds: of the episodes.
        arms: episodes at once.
    """
    bank = ReachArms(min(arms, len(seeds)), world.replace(end_on_success=False))
    parts: list[list[npt.NDArray[Any]]] = []
    seconds: list[float] = []
    try:
        for start in range(0, len(seeds), bank.count):
            batch = seeds[start : start + bank.count]
            count = len(batch)
            observations: npt.NDArray[np.float32] = np.zeros((bank.count, world.observation_size), dtype=np.float32)
            observations[:count] = bank.begin(range(count), batch)
            first = bank.distances()[:count]
            nearest = first.copy()
            steps = np.full(count, world.max_steps, dtype=np.int64)
            reached: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
            now = reached
            for step in range(world.max_steps):
                began = time.perf_counter()
                actions = policy.act(observations, None)
                seconds.append(time.perf_counter() - began)
                stepped = bank.step(actions)
                observations = stepped.observations
                now = stepped.reached[:count]
                steps[now & ~reached] = step + 1
                reached = reached | now
                nearest = np.minimum(nearest, stepped.distances[:count])
            parts.append([reached, now, nearest, stepped.distances[:count], steps, first])
    finally:
        bank.close()
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return ReachPlayed(
        reached=columns[0],
        held=columns[1],
        nearest=columns[2],
        last=columns[3],
        steps=columns[4],
        first=columns[5],
        seconds=seconds,
        decisions=world.max_steps,
    )


def evaluate_reach_policies(
    policies: Mapping[str, ReachActing],
    world: ReachConfig,
    out: Path,
    config: ReachEvaluationConfig,
    progress: Progress = silent,
    *,
    policy_ids: Mapping[str, str],
) -> EvaluationSummary:
    """Let policies reach for the same targets, and publish ``summary.json`` and ``scores.jsonl.gz``.

    A target counts as reached when the hand comes within ``success_m`` before the time is up, as the world's own
    episodes end. ``percent_complete`` is stricter: 1 only where the hand is there at the end, else the share of the
    way that it ended nearer by.

    Args:
        policies: name → policy.
        world: where.
        out: the evaluation's folder.
        config: which targets.
        progress: told after each policy.
        policy_ids: name → policy id.

    Raises:
        UserError: a policy's observations are other ones, or the disk is full.
    """
    check_policy_names(list(policies))
    sweep_temporaries(out)
    out.mkdir(parents=True, exist_ok=True)
    seeds = list(range(config.seed, config.seed + config.targets))
    scores: Scores = {}
    for number, (name, policy) in enumerate(policies.items()):
        began = time.perf_counter()
        try:
            played = play_targets(policy, world, seeds, config.arms)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"policy '{name}' cannot act in this world: {str(error).splitlines()[0]}",
                "evaluate it in the world it was trained in",
            ) from None
        rows = _rows(played, seeds, policy_ids[name], time.perf_counter() - began)
        scores[name] = {score.episode_id: score for score in rows}
        progress(number + 1, len(policies), f"{name}: {played.reached.mean():.0%}")
    return publish_evaluation(scores, out, config.scoring, {SPLIT: config.episode_set(world)})


def _rows(played: ReachPlayed, seeds: list[int], policy_id: str, seconds: float) -> list[EpisodeScore]:
    latency = [round(1000 * float(np.median(played.seconds)), 4)]
    found = []
    for row, seed in enumerate(seeds):
        reached, held = bool(played.reached[row]), bool(played.held[row])
        way = 1 - float(played.last[row]) / max(float(played.first[row]), 1e-9)
        found.append(
            EpisodeScore(
                episode_id=f"reach_{seed:09d}",
                task_type="reach",
                split=SPLIT,
                scene_id=f"reach_{seed:09d}",
                instruction=TASK,
                success=reached,
                percent_complete=1.0 if held else min(max(way, 0.0), 0.99),
                sim_steps=int(played.steps[row]),
                decisions=played.decisions,
                latency_ms=latency,
                runtime_s=round(seconds / len(seeds), 5),
                ended_by="success" if reached else "time limit",
                explanation="" if reached else f"came no nearer than {100 * played.nearest[row]:.0f} cm",
                policy_id=policy_id,
            )
        )
    return found
