"""The batches of an estimator's training: every process has its share of each step's episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_data import EstimatorFrames, Slot, all_pairs, planned_steps
from hitl_ops.training.estimator_pictures import PictureSource, looked_at


@dataclass(frozen=True, slots=True)
class StepBatch:
    """This process's share of a step.

    Attributes:
        pictures: [n, cameras, 3, size, size] uint8.
        state: [n, joints] float32; None where it is not looked at.
        then: KAI0: places in the batch of the moments compared with, [P]; None for PI06.
        now: … of the moments asked about.
        target: what is to be said, [P] or [n] float32.
        weight: what each square of an error counts: one over the targets of the whole step, 0 where this process has
            no share and only takes part in the exchange.
        frames: of the whole step.
    """

    pictures: torch.Tensor
    state: torch.Tensor | None
    then: torch.Tensor | None
    now: torch.Tensor | None
    target: torch.Tensor
    weight: float
    frames: int


class StepPlan:
    """The slots of every step, made as they are needed.

    Args:
        frames: the data set's.
        chosen: episodes to learn from.
        config: how they are chosen.
        steps: steps wanted.
    """

    def __init__(
        self, frames: EstimatorFrames, chosen: Sequence[int], config: EstimatorTrainConfig, steps: range
    ) -> None:
        self._how = (frames, chosen, config, steps)

    def __iter__(self) -> Iterator[list[Slot]]:
        return planned_steps(*self._how)


class StepShares(Dataset[StepBatch]):
    """This process's share of every step.

    Args:
        frames: the data set's.
        source: of pictures.
        pairs: whether moments are compared.
        rank: of this process.
        count: of processes.
    """

    def __init__(self, frames: EstimatorFrames, source: PictureSource, *, pairs: bool, rank: int, count: int) -> None:
        self._progress, self._state = frames.progress, frames.state
        self._starts = [episode.start for episode in frames.episodes]
        self._source, self._pairs, self._rank, self._count = source, pairs, rank, count

    def __getitems__(self, slots: Sequence[Slot]) -> StepBatch:
        """A share.

        Args:
            slots: the whole step's.
        """
        targets = sum(len(slot.rows) * (len(slot.rows) - 1 if self._pairs else 1) for slot in slots)
        mine = slots[self._rank :: self._count]
        weight = 1 / targets if mine else 0.0
        return self._batch(mine or slots[:1], weight, sum(len(slot.rows) for slot in slots))

    def _batch(self, slots: Sequence[Slot], weight: float, frames: int) -> StepBatch:
        pictures = np.concatenate([looked_at(self._source, slot) for slot in slots])
        index = np.concatenate([self._starts[slot.episode] + slot.rows for slot in slots])
        progress = self._progress[index]
        then = now = None
        if self._pairs:
            one, other = all_pairs([len(slot.rows) for slot in slots])
            then, now = torch.from_numpy(one), torch.from_numpy(other)
            progress = np.clip(progress[other] - progress[one], -1, 1)
        return StepBatch(
            pictures=torch.from_numpy(pictures).permute(0, 1, 4, 2, 3),
            state=None if self._state is None else torch.from_numpy(self._state[index]),
            then=then,
            now=now,
            target=torch.from_numpy(progress),
            weight=weight,
            frames=frames,
        )


def step_batches(shares: StepShares, plan: StepPlan, workers: int) -> Iterator[StepBatch]:
    """A process's share of every step, fetched as they are needed.

    Args:
        shares: where from.
        plan: the steps.
        workers: processes that fetch ahead; 0: this one fetches.
    """
    slots: Any = plan
    loader: DataLoader[StepBatch] = DataLoader(
        shares,
        batch_sampler=slots,
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context="forkserver" if workers else None,  # torch's threads do not outlive a fork
    )
    return iter(loader)


def _as_it_is(batch: Any) -> Any:
    return batch
