"""Episode sets: candidates are generated, proved solvable by the oracle, and published per split."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.episode import Episode, read_episodes, write_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json
from hitl_ops.experts.oracle import Oracle
from hitl_ops.rollouts.play import play_episode
from hitl_ops.worlds.household.episode_generator import generate_candidate

SPLITS = ("train", "val", "test")
_ATTEMPTS = 60
_WORTH_PROCESSES = 200
"""Fewer episodes than this are made before other processes would have started."""
GENERATOR_VERSION = "household-4"
"""Raise it with every change of homes, objects or tasks: episode files of another version are made anew."""


class EpisodeSetConfig(StrictConfig):
    """How many episodes each split has. Homes and seeds never overlap between splits."""

    train: int = Field(default=400, ge=0, description="training episodes")
    val: int = Field(default=100, ge=0, description="validation episodes, in homes of their own")
    test: int = Field(default=100, ge=0, description="test episodes, in homes of their own")


class EpisodeSetSummary(BaseModel):
    """What lies in an episode folder."""

    generator: str
    counts: dict[str, int]
    homes: dict[str, list[str]]
    task_types: dict[str, dict[str, int]]


def is_solvable(episode: Episode) -> bool:
    """Whether the oracle completes the task, knowing where everything is or not, and there is something to do."""
    for observability in ("full", "partial"):
        oracle = Oracle(observability)
        played = play_episode(episode, {0: oracle, 1: oracle}, keep_world_graph=False)
        if not played.result.success:
            return False
        if sum(played.result.replans.values()) <= 2:
            return False  # both agents were done at once: nothing was to be done
    return True


def generate_episode(split: str, index: int) -> Episode:
    """The ``index``-th episode of a split: the first candidate that is proved solvable.

    Raises:
        UserError: no candidate was; cannot happen for the shipped homes.
    """
    for attempt in range(_ATTEMPTS):
        episode = generate_candidate(split, index, attempt)
        if episode is not None and is_solvable(episode):
            return episode
    raise UserError(f"no solvable episode for {split} {index} in {_ATTEMPTS} attempts", "report it with the version")


def episode_file(folder: Path, split: str) -> Path:
    """Where a split's episodes lie."""
    return folder / f"{split}.json.gz"


def episodes_to_play(file: str | Path | None, folder: Path, split: str) -> list[Episode]:
    """The episodes somebody is to play.

    Args:
        file: an episode file, ours or PARTNR's; none: generated ones.
        folder: where generated ones lie.
        split: which of them.

    Raises:
        UserError: the file is missing, corrupt or empty.
    """
    if file:
        given = Path(file).expanduser()
        episodes = read_episodes(given)
        if not episodes:
            raise UserError(f"episode file '{given}' is empty", "name one with episodes in it")
        return episodes
    generated = episode_file(folder, split)
    if not generated.exists():
        raise UserError(f"there are no '{split}' episodes in '{folder}'", "run `flywheel episodes` first")
    episodes = read_episodes(generated)
    if not episodes:
        raise UserError(f"episode file '{generated}' is empty", "run `flywheel episodes` with a number for this split")
    return episodes


def generate_episode_sets(config: EpisodeSetConfig, folder: Path, progress: Progress = silent) -> EpisodeSetSummary:
    """Generate every split that is not there yet in the wanted size.

    Args:
        config: how many episodes.
        folder: where ``train.json.gz``, ``val.json.gz``, ``test.json.gz`` and ``summary.json`` go.
        progress: told after every episode.

    Raises:
        UserError: an existing file is corrupt, or the disk is full.
    """
    wanted = {split: int(getattr(config, split)) for split in SPLITS}
    total = sum(wanted.values())
    done = 0
    summary = EpisodeSetSummary(generator=GENERATOR_VERSION, counts={}, homes={}, task_types={})
    current = _version(folder) == GENERATOR_VERSION
    for split, count in wanted.items():
        file = episode_file(folder, split)
        episodes = read_episodes(file) if current and file.exists() else []
        if len(episodes) != count:
            episodes = episodes[:count]
            for episode in _generated(split, len(episodes), count):
                episodes.append(episode)
                progress(done + len(episodes), total, f"{split} episodes")
            write_episodes(file, episodes)
        done += count
        progress(done, total, f"{split} episodes")
        summary.counts[split] = len(episodes)
        summary.homes[split] = sorted({episode.scene_id for episode in episodes})
        types: dict[str, int] = {}
        for episode in episodes:
            types[episode.task_type] = types.get(episode.task_type, 0) + 1
        summary.task_types[split] = dict(sorted(types.items()))
    publish_json(folder / "summary.json", summary)
    return summary


def _generated(split: str, first: int, stop: int) -> Iterator[Episode]:
    """Episodes ``first`` to ``stop`` of a split in order; many are made on all cores."""
    if stop - first < _WORTH_PROCESSES:
        yield from (generate_episode(split, index) for index in range(first, stop))
        return
    # Spawned, not forked: the caller may hold threads.
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(generate_episode, repeat(split), range(first, stop), chunksize=16)
    finally:
        pool.shutdown(cancel_futures=True)


def _version(folder: Path) -> str:
    try:
        return str(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["generator"])
    except (OSError, ValueError, KeyError):
        return ""
