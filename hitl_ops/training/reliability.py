"""How much each person's comparisons count: as much as their agreement with themselves and with others lets expect."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from hitl_ops.labels.annotator_consistency import AnnotatorConsistency

USUAL_ACCURACY = 0.9
"""Of somebody nobody knows anything of yet: they count once."""
_PRIOR_PAIRS = 10
"""How many pairs said twice it takes to believe what they show as much as the usual."""
_MOST = 2.0


def alike_share(accuracy: float) -> float:
    """How often two answers to one question agree where each is right with this probability."""
    return accuracy**2 + (1 - accuracy) ** 2


def annotator_accuracy(consistency: AnnotatorConsistency, leave_out: Collection[str] = ()) -> float:
    """How often somebody names the better clip, by how often their answers agree with their own and with others'.

    Two answers that are each right with probability a agree with probability a² + (1 - a)². The share that agrees is
    drawn towards the usual one by as much as ``10`` pairs would.

    Args:
        consistency: how far they agree.
        leave_out: people whom to agree with says nothing.

    Returns:
        0.5 (by lot) to 1.
    """
    others = [one for name, one in consistency.with_others.items() if name not in leave_out]
    pairs = consistency.repeats + sum(one.pairs for one in others)
    alike = consistency.repeats_alike + sum(one.alike for one in others)
    share = (_PRIOR_PAIRS * alike_share(USUAL_ACCURACY) + alike) / (_PRIOR_PAIRS + pairs)
    return (1 + math.sqrt(max(0.0, 2 * share - 1))) / 2


def annotator_weights(people: Mapping[str, AnnotatorConsistency]) -> dict[str, float]:
    """How much each person's answers count.

    The weight is the log-odds of being right, which is what votes are best weighed by (Nitzan and Paroush 1982), as a
    share of the usual person's. Whoever always says the same side counts nothing until repeats show that they mean it.

    Args:
        people: by name, as :func:`hitl_ops.labels.annotator_consistency.annotator_consistency` finds them.

    Returns:
        0 to 2, by name; 1 for somebody of whom nothing is known.
    """
    usual = math.log(USUAL_ACCURACY / (1 - USUAL_ACCURACY))
    # Whoever does not look at the clips agrees with the others by chance: that speaks against nobody else.
    one_sided = {name for name, one in people.items() if one.one_sided}
    found = {}
    for name, one in people.items():
        accuracy = min(annotator_accuracy(one, one_sided), 1 - 1e-6)
        weight = math.log(accuracy / (1 - accuracy)) / usual
        found[name] = 0.0 if one.one_sided else round(min(max(weight, 0.0), _MOST), 6)
    return found
