"""Advantage-conditioned policies and what they are to be compared with, trained from the same data in one go.

The policy proper is told of each frame how good it was and is asked for the best (AWBC, as kai0 and π*0.6 have it,
arXiv 2511.14759). Beside it stand three that use less of the labels, or use them otherwise: plain cloning, cloning of
the frames labelled good alone, and advantage-weighted regression (arXiv 1910.00177). Several seeds of each say how
much of a difference is luck.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.training.action_config import ActionTrainConfig
from hitl_ops.training.action_policy import ActionTrainSummary, train_action_policy
from hitl_ops.training.advantage_config import AdvantagePoliciesConfig, policy_name, variant_training

_EVERY = 10
"""Steps between two words of a training that runs beside others."""


@dataclass(frozen=True)
class _Asked:
    """One training, as its process is told."""

    name: str
    config: ActionTrainConfig
    dataset: Path
    overlays: tuple[Path, ...]
    out: Path


def train_advantage_policies(
    config: AdvantagePoliciesConfig,
    dataset: Path,
    overlays: Sequence[Path],
    out: Path,
    progress: Progress = silent,
) -> dict[str, ActionTrainSummary]:
    """Train every variant with every seed; what came to its end before is not trained again.

    Args:
        config: which, and how.
        dataset: LeRobot data set.
        overlays: folders with columns laid over the data set's own: advantage labels, and for AWR the advantage.
        out: each training has a folder of its own below, ``awbc_0`` and so on.
        progress: told of steps, over all trainings together.

    Returns:
        Training → what it did, in the order of :attr:`AdvantagePoliciesConfig.names`.

    Raises:
        UserError: bad data or configuration, a folder holds another training, or the disk is full.
    """
    asked = [
        _Asked(
            policy_name(variant, seed),
            variant_training(config.training, variant, seed),
            dataset,
            tuple(overlays),
            out / policy_name(variant, seed),
        )
        for variant in config.variants
        for seed in config.seeds
    ]
    total = sum(one.config.steps for one in asked)
    count = min(config.at_once or _usual_count(), len(asked))
    if count == 1:
        return _one_by_one(asked, total, progress)
    return _beside_each_other(asked, count, total, progress)


def _usual_count() -> int:
    import torch

    return 1 if torch.accelerator.is_available() else os.cpu_count() or 1


def _one_by_one(asked: Sequence[_Asked], total: int, progress: Progress) -> dict[str, ActionTrainSummary]:
    done, summaries = 0, {}
    for one in asked:
        summaries[one.name] = train_action_policy(
            one.config, one.dataset, one.out, _part_of(progress, done, total, one.name), overlays=one.overlays
        )
        done += one.config.steps
        progress(done, total, one.name)
    return summaries


def _part_of(progress: Progress, before: int, of: int, name: str) -> Progress:
    """What one training tells, as part of all of them."""

    def told(done: int, total: int, note: str = "") -> None:
        progress(before + done, of, f"{name}: {note}")

    return told


def _beside_each_other(
    asked: Sequence[_Asked], count: int, total: int, progress: Progress
) -> dict[str, ActionTrainSummary]:
    context = multiprocessing.get_context("spawn")
    steps: dict[str, int] = {}
    found: dict[str, ActionTrainSummary] = {}
    with context.Manager() as manager:
        told, over = manager.Queue(), manager.Event()
        threads = max(1, (os.cpu_count() or 1) // count)
        with ProcessPoolExecutor(count, mp_context=context, initializer=_ready, initargs=(told, over, threads)) as pool:
            waiting: dict[Future[ActionTrainSummary], _Asked] = {pool.submit(_train, one): one for one in asked}
            try:
                while waiting:
                    ended, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    said = _drained(told, steps)
                    for future in ended:
                        one = waiting.pop(future)
                        found[one.name], said = future.result(), one.name
                        steps[one.name] = one.config.steps
                    if said:
                        progress(min(sum(steps.values()), total), total, said)
            finally:
                over.set()  # one failed: the others are waited for by nobody
                for future in waiting:
                    future.cancel()
    return {one.name: found[one.name] for one in asked}


def _drained(told: Any, steps: dict[str, int]) -> str:
    """Note what trainings said meanwhile; returns the last word."""
    last = ""
    while True:
        try:
            name, step, said = told.get_nowait()
        except queue.Empty:
            return last
        steps[name], last = step, f"{name}: {said}"


class _Over(Exception):
    """Another training failed, and nobody waits for this one any more."""


_told: Any = None
_over: Any = None


def _ready(told: Any, over: Any, threads: int) -> None:
    """A worker's beginning: where it tells how far it is, when it is to end, how many threads are its own."""
    import torch

    global _told, _over
    _told, _over = told, over
    torch.set_num_threads(threads)


def _train(asked: _Asked) -> ActionTrainSummary:
    """One training; runs in a worker."""

    def told(done: int, total: int, note: str = "") -> None:
        if done % _EVERY == 0:
            _told.put((asked.name, done, note))
            if _over.is_set():
                raise _Over

    return train_action_policy(asked.config, asked.dataset, asked.out, told, overlays=asked.overlays)
