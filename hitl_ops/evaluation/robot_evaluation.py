"""Policies for robots, scored in simulation: the same seeds for each, so that any two can be compared in pairs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json_lines_gz, sweep_temporaries
from hitl_ops.evaluation.evaluate import Scores, publish_evaluation
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import EvaluationConfig, EvaluationSummary, check_policy_names
from hitl_ops.worlds.robot_worlds import make_robot_world, robot_world_config

if TYPE_CHECKING:
    from hitl_ops.models.robot_policy import RobotPolicy

SPLIT = "val"
PARTS = "parts"
_PART = 10
"""Episodes that are played side by side, so that the policy is asked for all of them at once."""


class RobotEvaluationConfig(StrictConfig):
    """Which episodes policies are scored in, and how."""

    world: str = Field(default="bimanual", description="the simulated robot")
    world_options: dict[str, Any] = Field(default_factory=dict, description="its settings, such as cameras")
    episodes: int = Field(default=100, ge=1, le=100_000, description="episodes each policy plays")
    seed: int = Field(default=700_000, ge=0, description="the first episode's seed; the others follow")
    chunk_steps: int = Field(default=25, ge=1, description="actions of a chunk before the next, as the station's")
    blend_steps: int = Field(default=25, ge=0, description="overlap of two chunks that is blended, as the station's")
    guidance: float | None = Field(
        default=None, ge=0, le=10, description="how far policies are led by what they are told; unset: as trained"
    )
    processes: int = Field(default=0, ge=0, le=256, description="groups of ten played at once; 0: one a core")
    scoring: EvaluationConfig = Field(
        default=EvaluationConfig(reference="serving"), description="intervals and comparison"
    )

    @property
    def episode_set(self) -> str:
        """Hash over what decides the episodes: equal hashes, equal episodes."""
        told = self.model_dump(mode="json", include={"world", "world_options", "episodes", "seed"})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def evaluate_robot_policies(
    policies: Mapping[str, Path],
    out: Path,
    config: RobotEvaluationConfig,
    progress: Progress = silent,
    *,
    policy_ids: Mapping[str, str],
    code_version: str,
) -> EvaluationSummary:
    """Let policies play the same episodes, and publish ``summary.json`` and ``scores.jsonl.gz``.

    What was played of the same policy and episodes by the same code before is kept, so that a run that was cut short
    goes on.

    Args:
        policies: name → a policy's folder, with ``merged/`` in it.
        out: the evaluation's folder.
        config: which episodes.
        progress: told after each group of episodes.
        policy_ids: name → policy id.
        code_version: of worlds, rules of success and the playing; what another version played is played again.

    Raises:
        UserError: a policy is damaged or for another robot, or the disk is full.
    """
    check_policy_names(list(policies))
    robot_world_config(config.world, config.world_options)
    sweep_temporaries(out)
    seeds = list(range(config.seed, config.seed + config.episodes))
    groups = [seeds[first : first + _PART] for first in range(0, len(seeds), _PART)]
    scores: Scores = {}
    total = len(seeds) * len(policies)
    with _pool(config, len(groups)) as pool, _closed_at_the_end():
        for name, folder in policies.items():
            told = _Told(folder, policy_ids[name], config, code_version)
            files = {_part_file(out, told, group): group for group in groups}
            work = {file: group for file, group in files.items() if not file.is_file()}
            before = len(seeds) * len(scores)
            done = before + len(seeds) - sum(map(len, work.values()))
            progress(done, total, name)
            for file, played in _played(pool, told, work):
                publish_json_lines_gz(file, list[BaseModel](played))
                done += len(files[file])
                progress(done, total, name)
            rows = [score for file in files for score in _read_part(file)]
            scores[name] = {score.episode_id: score for score in rows}
    return publish_evaluation(scores, out, config.scoring, {SPLIT: config.episode_set})


@dataclass(frozen=True)
class _Told:
    """Who plays, and how."""

    folder: Path
    policy_id: str
    config: RobotEvaluationConfig
    code_version: str


def _played(
    pool: ProcessPoolExecutor | None, told: _Told, work: Mapping[Path, list[int]]
) -> Iterator[tuple[Path, list[EpisodeScore]]]:
    """Play groups of episodes, in workers or, where there is no pool, here; each comes with its file."""
    if pool is None:
        for file, seeds in work.items():
            yield file, _play(told, seeds)
        return
    waiting: dict[Future[list[EpisodeScore]], Path] = {
        pool.submit(_play, told, seeds): file for file, seeds in work.items()
    }
    try:
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for one in ended:
                yield waiting.pop(one), one.result()
    finally:
        for one in waiting:
            one.cancel()


def _pool(config: RobotEvaluationConfig, groups: int) -> contextlib.AbstractContextManager[ProcessPoolExecutor | None]:
    count = min(config.processes or os.cpu_count() or 1, groups)
    if count == 1:  # one more process would only take seconds to start
        return contextlib.nullcontext(None)
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # there is a process for each core


def _part_file(out: Path, told: _Told, group: Sequence[int]) -> Path:
    how = told.config.model_dump(mode="json", exclude={"processes", "scoring", "episodes", "seed"})
    said = json.dumps([told.policy_id, told.code_version, how, list(group)], sort_keys=True)
    return out / PARTS / f"{hashlib.sha256(said.encode()).hexdigest()[:24]}.jsonl.gz"


_opened: dict[str, RobotPolicy] = {}
"""The policy that this process has opened last, by its id."""


def _policy(told: _Told) -> RobotPolicy:
    """The policy, opened once for all of its groups; the one before is let go."""
    from hitl_ops.models.robot_policy import load_robot_policy

    if told.policy_id not in _opened:
        _opened.clear()
        _opened[told.policy_id] = load_robot_policy(told.folder, told.config.guidance)
    return _opened[told.policy_id]


@contextlib.contextmanager
def _closed_at_the_end() -> Iterator[None]:
    """Let go of the policy at the end of a block: its folder may hold another one next time."""
    try:
        yield
    finally:
        _opened.clear()


def _play(told: _Told, seeds: list[int]) -> list[EpisodeScore]:
    """Play some episodes side by side; runs in a worker."""
    from hitl_ops.rollouts.robot_rollouts import play_policy_episodes

    config, policy = told.config, _policy(told)
    worlds = [make_robot_world(config.world, config.world_options) for _ in seeds]
    began = time.perf_counter()
    try:
        played = play_policy_episodes(
            policy, worlds, seeds, chunk_steps=config.chunk_steps, blend_steps=config.blend_steps
        )
        task = worlds[0].task
    finally:
        for world in worlds:
            world.close()
    seconds = (time.perf_counter() - began) / len(seeds)
    return [
        EpisodeScore(
            episode_id=f"{config.world}_{one.seed:07d}",
            task_type=config.world,
            split=SPLIT,
            scene_id=f"{config.world}_{one.seed:07d}",
            instruction=task,
            success=one.success,
            percent_complete=float(one.success),
            sim_steps=one.ticks,
            decisions=len(one.latency_ms),
            latency_ms=[round(value, 3) for value in one.latency_ms],
            runtime_s=round(seconds, 4),
            ended_by="success" if one.success else "time limit",
            explanation=one.failure,
            policy_id=told.policy_id,
        )
        for one in played
    ]


def _read_part(file: Path) -> list[EpisodeScore]:
    import gzip
    import zlib

    try:
        lines = gzip.decompress(file.read_bytes()).splitlines()
        return [EpisodeScore.model_validate_json(line) for line in lines]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(
            f"'{file}' is damaged ({' '.join(str(error).split())[:100]})", "delete it, and evaluate again"
        ) from None
