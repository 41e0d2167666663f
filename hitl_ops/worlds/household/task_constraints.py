"""Which satisfied propositions a constraint leaves valid (PARTNR, upstream ``evaluation_functions.py``).

Constraints apply independently of one another; a proposition counts only if all leave it valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitl_ops.worlds.household.predicates import Bindings
from hitl_ops.worlds.household.task_definition import ArgumentTie, TemporalOrder

NOT_SATISFIED = -1


@dataclass(frozen=True, slots=True)
class Breach:
    """A constraint invalidates a satisfied proposition.

    Attributes:
        proposition: the one invalidated.
        because_of: the ones it collides with.
        argument: the name of the argument concerned; empty for an order.
        values: what the proposition was satisfied with; empty for an order.
        same: whether it should have matched the others; False for an order.
    """

    proposition: int
    because_of: tuple[int, ...]
    argument: str = ""
    values: tuple[str, ...] = ()
    same: bool = False


def order_breaches(order: TemporalOrder, satisfied_at: Sequence[int]) -> list[Breach]:
    """Satisfied propositions whose ancestors were not all satisfied strictly earlier."""
    breaches = []
    for index, ancestors in order.ancestors.items():
        when = satisfied_at[index]
        if when == NOT_SATISFIED:
            continue
        late = tuple(other for other in sorted(ancestors) if not NOT_SATISFIED < satisfied_at[other] < when)
        if late:
            breaches.append(Breach(index, late))
    return breaches


def tie_breaches(tie: ArgumentTie, satisfied_at: Sequence[int], values: Sequence[Bindings]) -> list[Breach]:
    """Satisfied propositions whose argument does not match the first one's, or repeats an earlier one's.

    Args:
        tie: which propositions, and which argument of each.
        satisfied_at: first step at which each was satisfied, -1 otherwise.
        values: what satisfied each at that step. Two values match when they share an element.
    """
    satisfied = sorted(
        (index for index in tie.arguments if satisfied_at[index] != NOT_SATISFIED),
        key=lambda index: satisfied_at[index],
    )
    chosen = {index: values[index][tie.arguments[index]] for index in satisfied}
    breaches = []
    for position, index in enumerate(satisfied[1:], start=1):
        matching = [other for other in satisfied[:position] if not set(chosen[other]).isdisjoint(chosen[index])]
        if tie.same and satisfied[0] not in matching:
            breaches.append(Breach(index, (satisfied[0],), tie.arguments[index], chosen[index], same=True))
        elif not tie.same and matching:
            breaches.append(Breach(index, tuple(matching), tie.arguments[index], chosen[index]))
    return breaches


def share_among_copies(family: Sequence[int], values: list[Bindings]) -> None:
    """Give each of an unrolled proposition's copies an object of its own.

    A copy with number k was satisfied by k objects. It stands for the k-th step, so its value is the first of
    them that no copy with a smaller number stands for already; the others' counterparts say nothing about it.

    Args:
        family: the copies and their original, smallest number first.
        values: what satisfied each proposition, changed in place; empty where it was not satisfied.
    """
    taken: set[str] = set()
    for index in family:
        if not values[index]:
            continue
        subjects = next(iter(values[index].values()))
        mine = next(position for position, subject in enumerate(subjects) if subject not in taken)
        taken.add(subjects[mine])
        values[index] = {name: (column[mine],) for name, column in values[index].items()}
