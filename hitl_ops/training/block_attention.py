"""Attention in a row of blocks: each block sees itself, causally, and the blocks its layout names.

Runs one fused attention call a block, so that the cost is that of the pairs of tokens that do see each other, not
the square of the row. Models that cannot be given an attention function of one's own get the same as a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.nn.functional import dropout as dropout_of
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from hitl_ops.contracts.errors import UserError
from hitl_ops.training.prefix_tree import Block

ATTENTION_NAME = "flywheel_blocks"
AttentionKind = Literal["blocks", "mask"]

# On CPUs with bfloat16 units two matrix products take 0.4 times as long as the fused kernel at 256 tokens and 0.6
# times at 1024; beyond that the scores no longer fit into the cache.
_PRODUCTS_UP_TO = 1024


@dataclass(frozen=True)
class BlockLayout:
    """Which token of a row sees which.

    Attributes:
        blocks: cover the row in order.
        masks: for each block bool ``[1, 1, own, seen + own]``, or None where it sees nothing but itself.
    """

    blocks: tuple[Block, ...]
    masks: tuple[torch.Tensor | None, ...]
    _causal: dict[int, torch.Tensor] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, blocks: Sequence[Block], device: torch.device) -> BlockLayout:
        """Build the masks of ``blocks``."""
        masks: list[torch.Tensor | None] = []
        for block in blocks:
            own, seen = block.stop - block.start, sum(stop - start for start, stop in block.sees)
            whole = torch.ones(own, seen + own, dtype=torch.bool, device=device).tril(seen)
            masks.append(whole[None, None] if seen else None)
        return cls(tuple(blocks), tuple(masks))

    def causal(self, length: int) -> torch.Tensor:
        """The causal mask as bfloat16 to be added to scores, ``[1, length, length]``; built once for all layers."""
        if length not in self._causal:
            self._causal[length] = torch.full((1, length, length), float("-inf"), dtype=torch.bfloat16).triu(1)
        return self._causal[length]

    def dense_mask(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """The same as an additive mask, ``[1, 1, length, length]``."""
        length = self.blocks[-1].stop
        mask = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=device)
        for block in self.blocks:
            for start, stop in block.sees:
                mask[block.start : block.stop, start:stop] = 0
            own = block.stop - block.start
            mask[block.start : block.stop, block.start : block.stop].masked_fill_(
                torch.ones(own, own, dtype=torch.bool, device=device).tril(), 0
            )
        return mask[None, None]


def block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    block_layout: BlockLayout,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the layout says; has the form transformers asks of attention functions.

    Args:
        module: the attention layer.
        query: ``[1, heads, length, size]``; key and value alike, with fewer heads perhaps.
        key: see query.
        value: see query.
        attention_mask: unused, the layout says everything.
        block_layout: which token sees which.
        **kwargs: scaling, dropout and the like, handed on.

    Returns:
        ``[1, length, heads, size]`` and no attention weights.
    """
    by_products = query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if by_products:
        query, key, value = (states.to(torch.bfloat16) for states in (query, key, value))
    parts: list[torch.Tensor] = []
    for block, mask in zip(block_layout.blocks, block_layout.masks, strict=True):
        own = slice(block.start, block.stop)
        if mask is None:
            keys, values = key[:, :, own], value[:, :, own]
        else:
            spans = [slice(start, stop) for start, stop in block.sees]
            if spans[-1].stop == block.start:
                spans[-1] = slice(spans[-1].start, block.stop)
            else:
                spans.append(own)
            keys, values = _gather(key, spans), _gather(value, spans)
        if by_products and mask is None and keys.shape[2] <= _PRODUCTS_UP_TO:
            part = _attend_by_products(query[:, :, own], keys, values, block_layout.causal(keys.shape[2]), **kwargs)
        else:
            part, _ = sdpa_attention_forward(module, query[:, :, own], keys, values, mask, **kwargs)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)), None


def _attend_by_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> torch.Tensor:
    """Attention as two batched matrix products, ``[1, own, heads, size]``."""
    heads, _own, size = query.shape[1:]
    shared = heads // key.shape[1]
    if shared > 1:
        key, value = repeat_kv(key, shared), repeat_kv(value, shared)
    scale = size**-0.5 if scaling is None else scaling
    scores = torch.baddbmm(mask.expand(heads, -1, -1), query[0], key[0].transpose(1, 2), alpha=scale)
    chances = dropout_of(scores.softmax(-1), dropout)
    return torch.bmm(chances, value[0]).transpose(0, 1)[None]


def _gather(states: torch.Tensor, spans: list[slice]) -> torch.Tensor:
    pieces = [states[:, :, span] for span in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


AttentionInterface.register(ATTENTION_NAME, block_attention)


def prepare_attention(model: PreTrainedModel, longest: int) -> AttentionKind:
    """Make ``model`` attend in blocks.

    Args:
        model: a causal language model.
        longest: tokens of the longest sample.

    Returns:
        How: ``"blocks"``, or ``"mask"`` where the model only takes masks.

    Raises:
        UserError: the model cannot hold the longest sample, or attends within a window shorter than it.
    """
    config = model.config.get_text_config()
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and longest > places:
        raise UserError(
            f"the longest sample has {longest} tokens, the base model holds {places}",
            "set max_length to that and overlong to drop or truncate_left",
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and longest > window:
        raise UserError(
            f"the longest sample has {longest} tokens, the base model attends within a window of {window}",
            "set max_length to that and overlong to drop or truncate_left",
        )
    if getattr(config, "attn_logit_softcapping", None) is not None:
        model.set_attn_implementation("eager")
        return "mask"
    if not getattr(model, "_supports_attention_backend", False):
        return "mask"
    model.set_attn_implementation(ATTENTION_NAME)
    return "blocks"
