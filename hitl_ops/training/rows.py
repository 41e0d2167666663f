"""Sequences laid end to end in one row: no padding, and no token sees another sequence's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
        weights: what each prediction counts, float64 ``[asked]``.
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


def build_row(sequences: Sequence[PackedSequence], device: torch.device, align: int = 1) -> Row:
    """Lay sequences end to end.

    Args:
        sequences: what the row is made of.
        device: where its tensors go.
        align: sequences, and what is asked of the row, are filled up to multiples of this with tokens that nothing
            sees and targets that count nothing. bfloat16 kernels on the CPU are compiled for each shape they meet,
            which costs more than the little filling.
    """
    filled = [_filled(sequence, align) for sequence in sequences]
    starts = np.cumsum([0, *(len(sequence) for sequence in filled)])[:-1]
    placed = list(zip(filled, starts.tolist(), strict=True))
    blocks = [_moved(block, start) for sequence, start in placed for block in sequence.blocks]
    predictors = np.concatenate([sequence.predictors + start for sequence, start in placed])
    outputs, chosen = np.unique(predictors, return_inverse=True)
    in_turn = len(outputs) == len(predictors)
    if missing := -len(outputs) % align:
        outputs = np.concatenate([outputs, np.full(missing, outputs[-1])])

    def joined(arrays: Sequence[NDArray[Any]]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    return Row(
        tokens=joined([s.tokens for s in filled])[None],
        positions=joined([s.positions for s in filled])[None],
        layout=BlockLayout.of(blocks, device),
        outputs=torch.from_numpy(outputs).to(device),
        chosen=None if in_turn and not missing else torch.from_numpy(chosen).to(device),
        targets=joined([s.targets for s in filled]),
        weights=joined([s.weights for s in filled]),
    )


def _filled(sequence: PackedSequence, align: int) -> PackedSequence:
    missing = -len(sequence) % align
    if not missing:
        return sequence
    length = len(sequence)
    *others, last = sequence.blocks
    # A sequence without forks stays one block; what follows it is seen by nothing that counts.
    ending = [last, Block(length, length + missing)] if others else [Block(0, length + missing)]
    return replace(
        sequence,
        tokens=np.concatenate([sequence.tokens, np.zeros(missing, np.int64)]),
        positions=np.concatenate([sequence.positions, np.arange(missing)]),
        blocks=(*others, *ending),
    )


def _moved(block: Block, by: int) -> Block:
    return Block(block.start + by, block.stop + by, tuple((a + by, b + by) for a, b in block.sees))
