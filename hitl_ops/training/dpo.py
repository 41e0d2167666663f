"""Direct preference optimization: the better of two answers becomes likelier than the worse, beside a reference.

Rafailov et al. 2023 (arXiv 2305.18290). What a policy is paid for an answer is beta times the logarithm of how much
likelier it finds it than the reference does; the loss is the cross entropy of the better answer having the higher pay
(Bradley and Terry 1952). Alone it may make both answers unlikely, so that the negative log-likelihood of the better one
is mixed in (Pang et al. 2024, arXiv 2404.19733), a token each.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import logsigmoid


class PreferenceTerms(NamedTuple):
    """What DPO makes of pairs of answers.

    Attributes:
        losses: [N], a pair each.
        chosen_rewards: [N] pay of the better answers, without gradient.
        rejected_rewards: [N] pay of the worse ones, without gradient.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor

    @property
    def margins(self) -> Tensor:
        """[N], by how much the better answer is paid more."""
        return self.chosen_rewards - self.rejected_rewards

    @property
    def hits(self) -> Tensor:
        """[N], 1 where the better answer is paid more, else 0; their mean is the accuracy."""
        return (self.chosen_rewards > self.rejected_rewards).float()


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> PreferenceTerms:
    """The loss of pairs (Rafailov et al. 2023, eq. 7), with the smoothing of conservative DPO (Mitchell 2023, eq. 3).

    Args:
        policy_chosen: [N] log-probability of each better answer under what is trained, summed over its tokens, nats.
        policy_rejected: [N], of each worse one.
        reference_chosen: [N], of the better ones under the reference.
        reference_rejected: [N].
        beta: how dear it is to leave the reference, above 0.
        label_smoothing: how probable it is that a pair is the wrong way round, in [0, 0.5).

    Raises:
        ValueError: beta or label_smoothing is out of range.
    """
    if beta <= 0 or not 0 <= label_smoothing < 0.5:
        raise ValueError(f"beta {beta} must be above 0 and label_smoothing {label_smoothing} in [0, 0.5)")
    chosen, rejected = policy_chosen - reference_chosen, policy_rejected - reference_rejected
    margins = beta * (chosen - rejected)
    losses = -(1 - label_smoothing) * logsigmoid(margins)
    if label_smoothing:
        losses = losses - label_smoothing * logsigmoid(-margins)
    return PreferenceTerms(losses, beta * chosen.detach(), beta * rejected.detach())


def nll_per_token(sums: Tensor, tokens: Tensor, weights: Tensor | None = None) -> Tensor:
    """Negative log-likelihood per token of all answers together: what a long answer says counts more.

    An answer of weight 2 pulls as two of weight 1.

    Args:
        sums: [N] log-probability of each answer, summed over its tokens, nats.
        tokens: [N] how many tokens each has.
        weights: [N] what each counts; 1 by default.

    Returns:
        A number, nats per token.
    """
    if weights is None:
        return -sums.sum() / tokens.sum()
    return -(weights * sums).sum() / (weights * tokens).sum()


def dpo_nll_loss(terms: PreferenceTerms, nll: Tensor, nll_weight: float) -> Tensor:
    """The mean of the pairs' losses, and with ``nll_weight`` the better answers' negative log-likelihood besides.

    What TRL computes for ``loss_type=["sigmoid", "sft"], loss_weights=[1, nll_weight]``.

    Args:
        terms: of the pairs.
        nll: of their better answers, see :func:`nll_per_token`.
        nll_weight: what it counts.

    Returns:
        A number.
    """
    loss = terms.losses.mean()
    return loss + nll_weight * nll if nll_weight else loss


__all__ = ["PreferenceTerms", "dpo_loss", "dpo_nll_loss", "nll_per_token"]
