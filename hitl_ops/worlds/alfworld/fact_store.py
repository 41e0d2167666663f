"""The facts of a game, and conjunctive queries over them, answered as TextWorld's logic answers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

NEGATED = "not_"
_ANY = "object"  # PDDL's root of all types

Binding = dict[tuple[str, str], str]
"""Placeholders, each a name and a type, with the things they stand for."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One predicate of a query with its placeholders, names and types."""

    predicate: str
    placeholders: tuple[tuple[str, str], ...]


Query = tuple[Condition, ...]


class FactStore:
    """What is true now.

    Args:
        types: type of every named thing.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._facts: dict[str, set[tuple[str, ...]]] = {}

    def __iter__(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return ((predicate, arguments) for predicate, all_of_it in self._facts.items() for arguments in all_of_it)

    def add(self, predicate: str, arguments: tuple[str, ...]) -> None:
        """Make something true; what it negates is true no longer."""
        opposite = predicate.removeprefix(NEGATED) if predicate.startswith(NEGATED) else NEGATED + predicate
        self._facts.get(opposite, set()).discard(arguments)
        self._facts.setdefault(predicate, set()).add(arguments)

    def add_all(self, facts: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Make many things true."""
        for predicate, arguments in facts:
            self.add(predicate, arguments)

    def holds(self, query: Query, binding: Binding) -> bool:
        """Whether a query has any answer."""
        return next(self.answers(query, binding), None) is not None

    def answers(self, query: Query, binding: Binding) -> Iterator[Binding]:
        """All ways to fill a query's placeholders, in the order of the names; different ones get different things.

        Args:
            query: the conditions, all of which must hold.
            binding: placeholders that are filled already.
        """
        return self._answers(query, dict(binding), set(binding.values()))

    def _answers(self, query: Sequence[Condition], binding: Binding, taken: set[str]) -> Iterator[Binding]:
        if not query:
            yield dict(binding)
            return
        condition, rest = query[0], query[1:]
        for arguments in sorted(self._candidates(condition, binding)):
            new: list[tuple[str, str]] = []
            for placeholder, thing in zip(condition.placeholders, arguments, strict=True):
                bound = binding.get(placeholder)
                if bound is None and thing not in taken:
                    binding[placeholder] = thing
                    taken.add(thing)
                    new.append(placeholder)
                elif bound != thing:
                    break
            else:
                yield from self._answers(rest, binding, taken)
            for placeholder in new:
                taken.discard(binding.pop(placeholder))

    def _candidates(self, condition: Condition, binding: Binding) -> Iterator[tuple[str, ...]]:
        bound = [(at, binding[one]) for at, one in enumerate(condition.placeholders) if one in binding]
        for arguments in self._facts.get(condition.predicate, ()):
            if len(arguments) == len(condition.placeholders) and all(arguments[at] == thing for at, thing in bound):
                fits = zip(condition.placeholders, arguments, strict=True)
                if all(kind in (_ANY, self._types.get(thing)) for (_, kind), thing in fits):
                    yield arguments
