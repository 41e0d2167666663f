"""Which samples go into which step: decided from the seed alone, before anything is packed or shared out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from hitl_ops.training.prefix_tree import EncodedSample, PackedSequence, build_sequence

Batch = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """Samples of one group that always go through the same step.

    Attributes:
        sequences: what the model runs on; one where prefixes are shared, else one a sample.
        samples: how many samples these are.
    """

    sequences: tuple[PackedSequence, ...]
    samples: int

    @property
    def tokens(self) -> int:
        """Tokens the model runs on."""
        return sum(len(sequence) for sequence in self.sequences)

    @property
    def sample_tokens(self) -> int:
        """Tokens, had each sample been trained by itself."""
        return sum(sequence.sample_tokens for sequence in self.sequences)

    @property
    def total_weight(self) -> float:
        """Share in the loss's denominator."""
        return sum(sequence.total_weight for sequence in self.sequences)


def build_units(
    samples: Sequence[EncodedSample], *, batch_size: int, packing: Literal["tree", "rows", "none"]
) -> list[Unit]:
    """Cut groups into pieces of at most ``batch_size`` samples; the cuts don't depend on ``packing``.

    Args:
        samples: those of a group must follow each other.
        batch_size: most samples of one piece.
        packing: ``"tree"`` merges a piece into one sequence.
    """
    units: list[Unit] = []
    for _, group_samples in groupby(samples, key=lambda sample: sample.group):
        group = list(group_samples)
        for start in range(0, len(group), batch_size):
            piece = group[start : start + batch_size]
            together = [piece] if packing == "tree" else [[sample] for sample in piece]
            units.append(Unit(tuple(build_sequence(members) for members in together), len(piece)))
    return units


def plan_steps(
    sizes: Sequence[int],
    *,
    batch_size: int,
    gradient_accumulation: int,
    epochs: int,
    max_steps: int | None,
    seed: int,
) -> list[list[Batch]]:
    """Lay out the whole training: the batches of every step, each a tuple of unit numbers.

    Every epoch is a permutation of all units. Units are put into a batch until the next does not fit, batches
    into a step until it has ``gradient_accumulation``; a step never reaches into the next epoch.

    Args:
        sizes: number of samples of each unit, none above ``batch_size``.
        batch_size: most samples in a batch.
        gradient_accumulation: batches to a step.
        epochs: passes over the units; unused where ``max_steps`` is given.
        max_steps: exact number of steps.
        seed: another seed gives another order.
    """
    steps: list[list[Batch]] = []
    epoch = 0
    while (max_steps is not None and len(steps) < max_steps) or (max_steps is None and epoch < epochs):
        batches = list(_epoch_batches(sizes, batch_size, np.random.default_rng([seed, epoch])))
        steps += [
            batches[start : start + gradient_accumulation] for start in range(0, len(batches), gradient_accumulation)
        ]
        epoch += 1
    return steps[:max_steps]


def _epoch_batches(sizes: Sequence[int], batch_size: int, order: np.random.Generator) -> Iterator[Batch]:
    batch: list[int] = []
    filled = 0
    for unit in order.permutation(len(sizes)).tolist():
        if batch and filled + sizes[unit] > batch_size:
            yield tuple(batch)
            batch, filled = [], 0
        batch.append(unit)
        filled += sizes[unit]
    if batch:
        yield tuple(batch)


def share_out(tokens: Sequence[int], processes: int) -> list[list[int]]:
    """Deal a batch's units to processes, evenly by tokens; the same on every process.

    Args:
        tokens: tokens of each unit.
        processes: number of shares.

    Returns:
        Indices into ``tokens``, one ascending list a process; a list may be empty.
    """
    shares: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    for index in sorted(range(len(tokens)), key=lambda i: (-tokens[i], i)):
        lightest = min(range(processes), key=lambda process: (load[process], process))
        shares[lightest].append(index)
        load[lightest] += tokens[index]
    return [sorted(share) for share in shares]
