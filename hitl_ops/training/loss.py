"""The weighted loss of a row: the sum over what is asked of it of weight times surprise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from hitl_ops.training.batches import Unit
from hitl_ops.training.block_attention import AttentionKind
from hitl_ops.training.prefix_tree import PackedSequence
from hitl_ops.training.rows import Row, build_row, fill_rows


def weighted_loss(model: torch.nn.Module, row: Row, attention: AttentionKind) -> torch.Tensor:
    """Sum over the row's targets of weight times negative log-likelihood, a scalar.

    Only the tokens that predict something go through the model's output layer.
    """
    if attention == "blocks":
        sight: dict[str, Any] = {"block_layout": row.layout}
    else:
        dtype = next(model.parameters()).dtype
        sight = {"attention_mask": row.layout.dense_mask(dtype, row.tokens.device)}
    logits = model(
        input_ids=row.tokens, position_ids=row.positions, logits_to_keep=row.outputs, use_cache=False, **sight
    ).logits[0]
    if row.chosen is not None:
        logits = logits[row.chosen]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(logits, row.targets, reduction="none").dot(row.weights.to(logits.dtype))


def rows_of(units: Iterable[Unit], pack_tokens: int, device: torch.device, align: int = 1) -> list[Row]:
    """Pack the sequences of units into rows; for ``align`` see :func:`~hitl_ops.training.rows.build_row`."""
    sequences: Sequence[PackedSequence] = [sequence for unit in units for sequence in unit.sequences]
    return [build_row([sequences[i] for i in row], device, align) for row in fill_rows(sequences, pack_tokens)]


def mean_loss(
    model: torch.nn.Module,
    units: Sequence[Unit],
    attention: AttentionKind,
    *,
    pack_tokens: int,
    align: int,
    device: torch.device,
    precision: AbstractContextManager[object] | None = None,
) -> tuple[float, float]:
    """Weighted loss without dropout and without gradients.

    Returns:
        The sum over all targets of weight times negative log-likelihood, and the sum of the weights.
    """
    training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad(), precision or nullcontext():
        for row in rows_of(units, pack_tokens, device, align):
            total += float(weighted_loss(model, row, attention))
    model.train(training)
    return total, sum(unit.total_weight for unit in units)
