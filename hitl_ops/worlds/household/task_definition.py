"""An episode's task made ready for scoring: checked, unrolled, and its dependencies put in order.

A proposition with ``number=n`` stands for n steps of the task and becomes n propositions, as PARTNR scores it
(arXiv 2411.00081; upstream ``evaluation_functions.py``). Its copies, with numbers 1 to n-1, follow all original
propositions. Everything that speaks of the original is told of them:

- dependencies: the copies depend on what the original depends on (upstream adds the loop counter in the copy's
  place); nothing ever depends on a copy.
- SameArg and TerminalSatisfaction: the copies join the set.
- Temporal: the copies take the original's edges.
- DifferentArg: a new set holds the copy in the original's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal

from hitl_ops.contracts.episode import Constraint, Episode, Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.facts import Facts
from hitl_ops.worlds.household.predicates import Predicate, compile_predicate

RelationType = Literal["while_satisfied", "after_satisfied", "after_unsatisfied", "before_satisfied"]


@dataclass(frozen=True, slots=True)
class Gate:
    """When one proposition is evaluated: ``relation`` must hold for ``every`` (else for some) of ``depends_on``."""

    relation: RelationType
    depends_on: tuple[int, ...]
    every: bool


@dataclass(frozen=True, slots=True)
class TemporalOrder:
    """TemporalConstraint: proposition → all that must be satisfied strictly before it."""

    ancestors: dict[int, frozenset[int]]


@dataclass(frozen=True, slots=True)
class ArgumentTie:
    """SameArgConstraint (``same``) or DifferentArgConstraint: proposition → name of its argument, in listed order."""

    same: bool
    arguments: dict[int, str]


@dataclass(frozen=True, slots=True)
class Terminal:
    """TerminalSatisfactionConstraint: what must still hold in the last state."""

    propositions: frozenset[int]


TaskConstraint = TemporalOrder | ArgumentTie | Terminal


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task ready for scoring.

    Attributes:
        predicates: the unrolled propositions, compiled.
        gates: per proposition, all of which must be open for it to be evaluated.
        order: every proposition after those it depends on.
        constraints: over the unrolled propositions.
        families: an unrolled original with its copies, smallest number first; only families of two or more.
    """

    predicates: tuple[Predicate, ...]
    gates: tuple[tuple[Gate, ...], ...]
    order: tuple[int, ...]
    constraints: tuple[TaskConstraint, ...]
    families: tuple[tuple[int, ...], ...]


def define_task(episode: Episode, facts: Facts) -> TaskDefinition:
    """Check an episode's propositions, dependencies and constraints against its home, and unroll them.

    Raises:
        UserError: a predicate, argument, handle, state or index is unknown, a number cannot be met, or
            dependencies or temporal edges form a cycle. The message names the episode.
    """
    where = f"episode '{episode.episode_id}'"
    propositions = list(episode.evaluation_propositions)
    predicates = [
        compile_predicate(proposition, facts, f"{where}, proposition {index}")
        for index, proposition in enumerate(propositions)
    ]
    gated = [
        _checked_dependents(episode, position, where)
        for position in range(len(episode.evaluation_proposition_dependencies))
    ]
    drafts = [_Draft.of(constraint, predicates, where) for constraint in episode.evaluation_constraints]
    families = []
    for original in range(len(propositions)):
        family = []
        for copy in _copies(propositions[original]):
            index = len(predicates)
            family.append(index)
            predicates.append(compile_predicate(copy, facts, f"{where}, proposition {original}"))
            for dependents in gated:
                if original in dependents:
                    dependents.append(index)
            drafts += [extra for draft in drafts if (extra := draft.unroll(original, index)) is not None]
        if family:
            families.append((*family, original))
    gates: list[list[Gate]] = [[] for _ in predicates]
    for dependency, dependents in zip(episode.evaluation_proposition_dependencies, gated, strict=True):
        gate = Gate(dependency.relation_type, tuple(dependency.depends_on), dependency.dependency_mode == "all")
        for index in dict.fromkeys(dependents):
            gates[index].append(gate)
    return TaskDefinition(
        predicates=tuple(predicates),
        gates=tuple(tuple(closed) for closed in gates),
        order=_evaluation_order(gates, where),
        constraints=tuple(draft.finished(where) for draft in drafts),
        families=tuple(families),
    )


def _copies(proposition: Proposition) -> list[Proposition]:
    """The copies ``number=n`` unrolls into; a list of numbers (``is_clustered``) is left as it is."""
    number = proposition.args.get("number", 1)
    if isinstance(number, list):
        return []
    return [proposition.model_copy(update={"args": {**proposition.args, "number": n}}) for n in range(1, number)]


def _checked_dependents(episode: Episode, position: int, where: str) -> list[int]:
    dependency = episode.evaluation_proposition_dependencies[position]
    place = f"{where}, dependency {position}"
    _check_indices(
        [*dependency.proposition_indices, *dependency.depends_on], len(episode.evaluation_propositions), place
    )
    return list(dependency.proposition_indices)


def _check_indices(indices: Iterable[Any], propositions: int, place: str) -> None:
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < propositions:
            raise UserError(
                f"{place}: there is no proposition {index!r}", f"the episode has {propositions}, counted from 0"
            )


def _evaluation_order(gates: list[list[Gate]], where: str) -> tuple[int, ...]:
    graph = {index: {other for gate in closed for other in gate.depends_on} for index, closed in enumerate(gates)}
    return _sorted(graph, f"{where}: its dependencies")


def _sorted(graph: dict[int, set[int]], what: str) -> tuple[int, ...]:
    """Nodes after their predecessors.

    Raises:
        UserError: there is a cycle.
    """
    try:
        return tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        cycle = " → ".join(str(index) for index in error.args[1])
        raise UserError(f"{what} form a cycle over propositions {cycle}", "correct the episode file") from None


@dataclass(slots=True)
class _Draft:
    """A constraint while propositions are being unrolled: ``edges`` for an order, ``arguments`` for the rest."""

    kind: str
    edges: list[tuple[int, int]]
    arguments: dict[int, str]
    place: str

    @classmethod
    def of(cls, constraint: Constraint, predicates: list[Predicate], where: str) -> _Draft:
        place = f"{where}, {constraint.type}"
        edges, indices, names = (
            _list_argument(constraint, argument, place)
            for argument in ("dag_edges", "proposition_indices", "arg_names")
        )
        for edge in edges:
            if not isinstance(edge, list | tuple) or len(edge) != 2:
                raise UserError(f"{place}: {edge!r} is not an edge", "write it as [before, after]")
        _check_indices([*indices, *(index for edge in edges for index in edge)], len(predicates), place)
        if constraint.type not in ("SameArgConstraint", "DifferentArgConstraint"):
            return cls(constraint.type, [(before, after) for before, after in edges], dict.fromkeys(indices, ""), place)
        if len(names) != len(indices):
            raise UserError(f"{place}: {len(indices)} propositions but {len(names)} arg_names", "name one for each")
        for index, name in zip(indices, names, strict=True):
            if name not in predicates[index].argument_names:
                known = ", ".join(predicates[index].argument_names)
                raise UserError(f"{place}: proposition {index} has no argument {name!r}", f"it has {known}")
        return cls(constraint.type, [], dict(zip(indices, names, strict=True)), place)

    def unroll(self, original: int, copy: int) -> _Draft | None:
        """Tell this constraint of a copy; returns the further constraint a DifferentArg set needs."""
        if self.kind == "DifferentArgConstraint":
            if original not in self.arguments:
                return None
            renamed = {copy if index == original else index: name for index, name in self.arguments.items()}
            return _Draft(self.kind, [], renamed, self.place)
        if original in self.arguments:
            self.arguments[copy] = self.arguments[original]
        self.edges += [(before, copy) for before, after in self.edges if after == original]
        self.edges += [(copy, after) for before, after in self.edges if before == original]
        return None

    def finished(self, where: str) -> TaskConstraint:
        if self.kind == "TemporalConstraint":
            return TemporalOrder(_ancestors(self.edges, where))
        if self.kind == "TerminalSatisfactionConstraint":
            return Terminal(frozenset(self.arguments))
        return ArgumentTie(self.kind == "SameArgConstraint", dict(self.arguments))


def _list_argument(constraint: Constraint, argument: str, place: str) -> list[Any]:
    needed = {
        "TemporalConstraint": ("dag_edges",),
        "TerminalSatisfactionConstraint": ("proposition_indices",),
    }.get(constraint.type, ("proposition_indices", "arg_names"))
    if argument not in needed:
        return []
    value = constraint.args.get(argument)
    if not isinstance(value, list | tuple):
        raise UserError(f"{place}: '{argument}' must be a list", f"found {value!r}")
    return list(value)


def _ancestors(edges: list[tuple[int, int]], where: str) -> dict[int, frozenset[int]]:
    """Per proposition that has any, all that come before it, directly or not."""
    before: dict[int, set[int]] = {}
    for first, second in edges:
        before.setdefault(second, set()).add(first)
    complete: dict[int, frozenset[int]] = {}
    for index in _sorted(before, f"{where}: its temporal edges"):
        direct = before.get(index, set())
        complete[index] = frozenset(direct.union(*(complete[other] for other in direct)))
    return {index: earlier for index, earlier in complete.items() if earlier}
