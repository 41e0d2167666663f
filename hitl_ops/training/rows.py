"""Sequences laid end to end in one row: no padding, and no token sees another sequence's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hitl_ops.training.block_attention import BlockLayout
from hitl_ops.training.prefix_tree import Block, PackedSequence


@dataclass(frozen=True)
class Row:
    """What one forward pass gets and is asked.

    Attributes:
        tokens: ids, int64 ``[1, length]``.
        positions: int64 ``[1, length]``.
        layout: which token sees which.
        outputs: tokens whose logits are needed, int64 ``[outputs]``, ascending, each once.
        chosen: for each target the index into ``outputs``, int64 ``[asked]``; None where it is each in turn.
        targets: ids to predict, int64 ``[asked]``.
        weights: what each prediction counts, float32 ``[asked]``.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    layout: BlockLayout
    outputs: torch.Tensor
    chosen: torch.Tensor | None
    targets: torch.Tensor
    weights: torch.Tensor


def fill_rows(sequences: Sequence[PackedSequence], pack_tokens: int) -> list[list[int]]:
    """Distribute sequences over rows, first fit, longest first; returns indices into ``sequences``.

    Args:
        sequences: what to place.
        pack_tokens: most tokens of a row; a longer sequence gets a row to itself. 1 gives every sequence its own.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda i: (-len(sequences[i]), i)):
        length = len(sequences[index])
        for row, free in enumerate(room):
            if length <= free:
                rows[row].append(index)
                room[row] -= length
                break
        else:
            rows.append([index])
            room.append(pack_tokens - length)
    return rows


def build_row(sequences: Sequence[PackedSequence], device: torch.device) -> Row:
    """Lay sequences end to end."""
    starts = np.cumsum([0, *(len(sequence) for sequence in sequences)])[:-1]
    blocks = [
        _moved(block, int(start))
        for sequence, start in zip(sequences, starts, strict=True)
        for block in sequence.blocks
    ]
    predictors = np.concatenate([s.predictors + start for s, start in zip(sequences, starts, strict=True)])
    outputs, chosen = np.unique(predictors, return_inverse=True)

    def joined(arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    return Row(
        tokens=joined([s.tokens for s in sequences])[None],
        positions=joined([s.positions for s in sequences])[None],
        layout=BlockLayout.of(blocks, device),
        outputs=torch.from_numpy(outputs).to(device),
        chosen=None if len(outputs) == len(predictors) else torch.from_numpy(chosen).to(device),
        targets=joined([s.targets for s in sequences]),
        weights=joined([s.weights for s in sequences]).float(),
    )


def _moved(block: Block, by: int) -> Block:
    return Block(block.start + by, block.stop + by, tuple((a + by, b + by) for a, b in block.sees))
