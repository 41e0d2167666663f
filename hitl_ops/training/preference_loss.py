"""How likely what people said of pairs is under a reward (Bradley and Terry 1952; Christiano et al. 2017, eq. 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def left_wins(left: Tensor, right: Tensor, *, noise: float = 0.0, clip: float = 50.0) -> Tensor:
    """How probable it is that somebody says the left clip is the better one.

    Args:
        left: [...] what the left clip is worth, the sum of its steps' rewards.
        right: [...] what the right one is worth.
        noise: share of answers that are given by lot, half of them for either side.
        clip: a difference counts at most so much, so that no single answer weighs without bound.

    Returns:
        [...], in (0, 1).
    """
    chance = torch.sigmoid((left - right).clamp(-clip, clip))
    return noise / 2 + (1 - noise) * chance


def preference_loss(left: Tensor, right: Tensor, said: Tensor, *, noise: float = 0.0, clip: float = 50.0) -> Tensor:
    """Cross entropy between what was said and :func:`left_wins`, an answer each.

    A tie is half a win for either side: the loss is least where both clips are worth the same, and does not care
    which side is which.

    Args:
        left: [..., P] what each pair's left clip is worth.
        right: [..., P].
        said: [P], 1 for the left clip, 0 for the right one, 0.5 for a tie.
        noise: see :func:`left_wins`.
        clip: see :func:`left_wins`.

    Returns:
        [..., P].
    """
    difference = (left - right).clamp(-clip, clip)
    if noise == 0:
        # By logits: the logarithm of a chance that rounds to 0 would be minus infinity.
        return torch.nn.functional.binary_cross_entropy_with_logits(
            difference, said.expand_as(difference), reduction="none"
        )
    chance = left_wins(left, right, noise=noise, clip=clip)
    return -(said * torch.log(chance) + (1 - said) * torch.log1p(-chance))
