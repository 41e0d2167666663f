"""Scoring by property: random tasks over random histories, against a slow evaluator written from the definitions.

The slow evaluator keeps a copy of the facts of every single step and recomputes everything from all of them; the
one under test is told only of the steps at which something changed.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.episode import Constraint, Dependency, Episode, Proposition
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.task_evaluation import TaskEvaluation

CUPS = ["cup_1", "cup_2", "cup_3"]
TABLES = ["table_1", "table_2", "desk_1"]
ROOM_OF = {"table_1": "kitchen_1", "table_2": "kitchen_1", "desk_1": "bedroom_1"}
ROOMS = ["kitchen_1", "bedroom_1"]
# Tables 1 and 2 stand 0.3 m apart, the desk far away; things inside a table lie half a metre lower.
PLACE_OF = {"table_1": 0.0, "table_2": 0.3, "desk_1": 20.0, "floor_kitchen_1": 5.0, "floor_bedroom_1": 25.0}

Change = tuple[int, str, str, Any]
Row = tuple[str, dict[str, Any]]


def home() -> Facts:
    facts = Facts(
        agents=[AgentFacts(0.0, 0.0)],
        objects={name: ObjectFacts("cup", "on", "table_1", 0, (0.0, 0.8, 0.0), {"is_clean": False}) for name in CUPS},
        furniture_rooms=dict(ROOM_OF),
        furniture_open={},
        furniture_states={},
        doors_open={},
    )
    for name in CUPS:
        apply(facts, (1, name, "place", ("on", "table_1")))
    return facts


def apply(facts: Facts, change: Change) -> None:
    _, name, kind, value = change
    thing = facts.objects[name]
    if kind == "clean":
        thing.states["is_clean"] = value
        return
    thing.relation, thing.parent = value
    height = {"on": 0.8, "within": 0.3, "floor": 0.0, "held": 1.0}[thing.relation]
    thing.position = (PLACE_OF.get(thing.parent, 0.0) + 0.2 * CUPS.index(name), height, 0.0)


places = st.one_of(
    st.tuples(st.sampled_from(["on", "within"]), st.sampled_from(TABLES)),
    st.tuples(st.just("floor"), st.sampled_from([f"floor_{room}" for room in ROOMS])),
    st.just(("held", "agent_0")),
)
changes = st.one_of(
    st.tuples(st.integers(1, 3), st.sampled_from(CUPS), st.just("place"), places),
    st.tuples(st.integers(1, 3), st.sampled_from(CUPS), st.just("clean"), st.booleans()),
)
histories = st.lists(changes, min_size=1, max_size=10)


def some_of(items: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(items), min_size=1, max_size=len(items), unique=True)


@st.composite
def propositions(draw: st.DrawFn) -> Proposition:
    name = draw(
        st.sampled_from(
            [
                "is_on_top",
                "is_inside",
                "is_in_room",
                "is_on_floor",
                "is_next_to",
                "is_clustered",
                "is_clean",
                "is_dirty",
            ]
        )
    )
    if name == "is_clustered":
        groups = draw(st.lists(some_of(CUPS), min_size=1, max_size=2))
        return Proposition(
            function_name=name, args={"*args": groups, "number": [draw(st.integers(1, len(g))) for g in groups]}
        )
    subjects = draw(some_of(CUPS))
    args: dict[str, Any] = {"number": draw(st.integers(1, len(subjects)))}
    args["entity_handles_a" if name == "is_next_to" else "object_handles"] = subjects
    if name in ("is_on_top", "is_inside"):
        args |= {"receptacle_handles": draw(some_of(TABLES)), "is_same_receptacle": draw(st.booleans())}
    elif name == "is_in_room":
        args |= {"room_ids": draw(some_of(ROOMS)), "is_same_room": draw(st.booleans())}
    elif name == "is_next_to":
        args |= {"entity_handles_b": draw(some_of(CUPS)), "is_same_b": draw(st.booleans())}
    return Proposition(function_name=name, args=args)


def argument_names(proposition: Proposition) -> list[str]:
    if proposition.function_name == "is_clustered":
        return [f"*args_{position}" for position in range(len(proposition.args["*args"]))]
    return [
        name
        for name in proposition.args
        if name.endswith(("_handles", "_ids", "_a", "_b")) and not name.startswith("is_")
    ]


@st.composite
def tasks(draw: st.DrawFn, *, constrained: bool = True) -> Episode:
    rows = draw(st.lists(propositions(), min_size=1, max_size=4))
    rank = draw(st.permutations(range(len(rows))))
    pairs = [(rank[a], rank[b]) for a, b in itertools.combinations(range(len(rows)), 2)]
    indices = st.lists(st.sampled_from(range(len(rows))), min_size=1, max_size=3, unique=True)
    dependencies, constraints = [], []
    for before, after in draw(st.lists(st.sampled_from(pairs), max_size=3)) if pairs else []:
        more = draw(st.sampled_from([a for a, b in pairs if b == after]))
        dependencies.append(
            Dependency(
                proposition_indices=[after],
                depends_on=list(dict.fromkeys([before, more])),
                relation_type=draw(
                    st.sampled_from(["while_satisfied", "after_satisfied", "after_unsatisfied", "before_satisfied"])
                ),
                dependency_mode=draw(st.sampled_from(["all", "any"])),
            )
        )
    if constrained:
        if pairs and draw(st.booleans()):
            edges = draw(st.lists(st.sampled_from(pairs), max_size=3))
            constraints.append(
                Constraint(type="TemporalConstraint", args={"dag_edges": [list(edge) for edge in edges]})
            )
        for kind in draw(st.lists(st.sampled_from(["SameArgConstraint", "DifferentArgConstraint"]), max_size=2)):
            chosen = draw(indices)
            names = [draw(st.sampled_from(argument_names(rows[index]))) for index in chosen]
            constraints.append(Constraint(type=kind, args={"proposition_indices": chosen, "arg_names": names}))
        if draw(st.booleans()):
            constraints.append(
                Constraint(type="TerminalSatisfactionConstraint", args={"proposition_indices": draw(indices)})
            )
    return Episode(
        episode_id="random",
        scene_id="s",
        instruction="",
        evaluation_propositions=rows,
        evaluation_proposition_dependencies=dependencies,
        evaluation_constraints=constraints,
    )


# --- the slow evaluator -----------------------------------------------------------------------------------------


def stands(facts: Facts, name: str, subject: str, other: str | None) -> bool:
    """One subject with one counterpart."""
    thing = facts.objects[subject]
    if name in ("is_clean", "is_dirty"):
        return thing.states["is_clean"] == (name == "is_clean")
    if name == "is_on_floor":
        return thing.relation == "floor"
    if name == "is_on_top":
        return thing.relation == "on" and thing.parent == other
    if name == "is_inside":
        return thing.relation == "within" and thing.parent == other
    if name == "is_in_room":
        return thing.relation != "held" and (thing.parent == f"floor_{other}" or ROOM_OF.get(thing.parent) == other)
    assert other is not None
    neighbour = facts.objects[other]
    if subject == other or "held" in (thing.relation, neighbour.relation):
        return False
    (x, y, z), (u, v, w) = thing.position, neighbour.position
    return ((x - u) ** 2 + (z - w) ** 2) ** 0.5 <= 0.5 + 1e-9 and abs(y - v) <= 0.1 + 1e-9


def solution(facts: Facts, row: Row) -> dict[str, list[str]] | None:
    """What satisfies a proposition, in listed order; None where nothing does."""
    name, args = row
    if name == "is_clustered":
        best: dict[str, list[str]] | None = None
        members = sorted({cup for group in args["*args"] for cup in group})
        biggest = 0
        for size in range(1, len(members) + 1):
            for chosen in itertools.combinations(members, size):
                inside = [[cup for cup in group if cup in chosen] for group in args["*args"]]
                enough = all(len(got) >= n for got, n in zip(inside, args["number"], strict=True))
                if enough and connected(facts, chosen) and maximal(facts, chosen, members) and size > biggest:
                    best, biggest = {f"*args_{i}": got for i, got in enumerate(inside)}, size
        return best
    first = "entity_handles_a" if name == "is_next_to" else "object_handles"
    second = next((key for key in ("receptacle_handles", "room_ids", "entity_handles_b") if key in args), None)
    others: list[Any] = args[second] if second else [None]
    same = any(args.get(flag) for flag in ("is_same_receptacle", "is_same_room", "is_same_b"))
    for allowed in [[other] for other in others] if same and second else [others]:
        pairs = []
        for subject in args[first]:
            partners = [other for other in allowed if stands(facts, name, subject, other)]
            if partners:
                pairs.append((subject, partners[0]))
        if len(pairs) >= args["number"]:
            found = {first: [a for a, _ in pairs[: args["number"]]]}
            return found | ({second: [b for _, b in pairs[: args["number"]]]} if second else {})
    return None


def connected(facts: Facts, chosen: tuple[str, ...]) -> bool:
    """Whether some walk over neighbours visits all."""
    return any(
        all(any(stands(facts, "is_next_to", order[k], earlier) for earlier in order[:k]) for k in range(1, len(order)))
        for order in itertools.permutations(chosen)
    )


def maximal(facts: Facts, chosen: tuple[str, ...], members: list[str]) -> bool:
    return not any(
        stands(facts, "is_next_to", outside, inside)
        for outside in members
        if outside not in chosen
        for inside in chosen
    )


class Slow:
    """Everything from scratch, from the facts of every step."""

    def __init__(self, episode: Episode, states: list[Facts]) -> None:
        self.rows: list[Row] = [(p.function_name, dict(p.args)) for p in episode.evaluation_propositions]
        self.copies: dict[int, list[int]] = {}
        originals = len(self.rows)
        for index in range(originals):
            number = self.rows[index][1].get("number", 1)
            for n in range(1, 1 if isinstance(number, list) else number):
                self.copies.setdefault(index, []).append(len(self.rows))
                self.rows.append((self.rows[index][0], {**self.rows[index][1], "number": n}))
        self.origin = {copy_: index for index, copies in self.copies.items() for copy_ in copies}
        self.episode, self.states = episode, states
        self.last = len(states) - 1

        @cache
        def holds(index: int, step: int) -> bool:
            if solution(states[step], self.rows[index]) is None:
                return False
            for dependency in episode.evaluation_proposition_dependencies:
                if self.origin.get(index, index) in dependency.proposition_indices:
                    met = [self.relation(dependency.relation_type, other, step) for other in dependency.depends_on]
                    if not (all(met) if dependency.dependency_mode == "all" else any(met)):
                        return False
            return True

        self.holds: Callable[[int, int], bool] = holds
        self.satisfied_at = [
            next((step for step in range(len(states)) if holds(index, step)), -1) for index in range(len(self.rows))
        ]

    def relation(self, kind: str, other: int, step: int) -> bool:
        so_far = [self.holds(other, past) for past in range(step + 1)]
        if kind == "while_satisfied":
            return so_far[-1]
        if kind == "after_satisfied":
            return any(so_far)
        if kind == "before_satisfied":
            return not any(so_far)
        return any(earlier and not later for earlier, later in itertools.pairwise(so_far))

    def value(self, index: int, argument: str) -> set[str]:
        found = solution(self.states[self.satisfied_at[index]], self.rows[index])
        assert found is not None
        if argument.startswith("*args"):
            return set(found[argument])
        return {found[argument][self.position(index)]}

    def position(self, index: int) -> int:
        """Which of the things that satisfied a copy it stands for: the first no smaller copy stands for."""
        original = self.origin.get(index, index)
        found = solution(self.states[self.satisfied_at[index]], self.rows[index])
        assert found is not None
        taken = set()
        for smaller in [*self.copies.get(original, []), original]:
            if smaller == index:
                break
            earlier = solution(self.states[self.satisfied_at[smaller]], self.rows[smaller])
            assert earlier is not None
            taken.add(next(iter(earlier.values()))[self.position(smaller)])
        return next(i for i, subject in enumerate(next(iter(found.values()))) if subject not in taken)

    def percent(self) -> float:
        good = {index for index, when in enumerate(self.satisfied_at) if when >= 0}
        for constraint in self.episode.evaluation_constraints:
            args = constraint.args
            if constraint.type == "TerminalSatisfactionConstraint":
                wanted = {i for i in range(len(self.rows)) if self.origin.get(i, i) in args["proposition_indices"]}
                good -= {index for index in wanted if not self.holds(index, self.last)}
            elif constraint.type == "TemporalConstraint":
                good -= {index for index in good if not self.in_order(index, args["dag_edges"])}
            else:
                named = dict(zip(args["proposition_indices"], args["arg_names"], strict=True))
                good -= self.mismatched(named, constraint.type == "SameArgConstraint")
        return len(good) / len(self.rows)

    def in_order(self, index: int, edges: list[list[int]]) -> bool:
        seen: set[int] = set()
        frontier = {self.origin.get(index, index)}
        while frontier := {a for a, b in edges if b in frontier} - seen:
            seen |= frontier
        ancestors = seen | {copy_ for copy_, original in self.origin.items() if original in seen}
        return all(0 <= self.satisfied_at[a] < self.satisfied_at[index] for a in ancestors)

    def mismatched(self, named: dict[int, str], same: bool) -> set[int]:
        alternatives = [[index, *self.copies.get(index, [])] for index in named]
        if same:
            # The first listed come first among those satisfied at once, and the copies after all originals.
            sets = [[*named, *(c for index in sorted(named) for c in self.copies.get(index, []))]]
        else:
            sets = [list(chosen) for chosen in itertools.product(*alternatives)]
        bad = set()
        for members in sets:
            satisfied = sorted((i for i in members if self.satisfied_at[i] >= 0), key=lambda i: self.satisfied_at[i])
            values = [self.value(i, named[self.origin.get(i, i)]) for i in satisfied]
            for k in range(1, len(satisfied)):
                if same and not values[0] & values[k]:
                    bad.add(satisfied[k])
                if not same and any(value & values[k] for value in values[:k]):
                    bad.add(satisfied[k])
        return bad


def play(episode: Episode, history: list[Change], *, every_step: bool) -> tuple[list[TaskEvaluation], list[Facts]]:
    """The score after every step and the facts of every step."""
    facts = home()
    score = TaskEvaluation(episode, facts)
    scores, states = [copy.deepcopy(score)], [copy.deepcopy(facts)]
    for change in history:
        for _ in range(change[0] - 1):
            if every_step:
                score.update(facts, len(states))
            scores.append(copy.deepcopy(score))
            states.append(copy.deepcopy(facts))
        apply(facts, change)
        score.update(facts, len(states))
        scores.append(copy.deepcopy(score))
        states.append(copy.deepcopy(facts))
    return scores, states


# --- properties -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(tasks(), histories)
def test_looking_at_changes_equals_looking_at_every_step(episode: Episode, history: list[Change]) -> None:
    scores, states = play(episode, history, every_step=False)
    for step in {0, len(states) // 2, len(states) - 1}:
        slow = Slow(episode, states[: step + 1])
        assert scores[step].satisfied_at == slow.satisfied_at
        assert scores[step].percent_complete == slow.percent()


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(tasks(), histories)
def test_calls_without_a_change_make_no_difference(episode: Episode, history: list[Change]) -> None:
    seldom, _ = play(episode, history, every_step=False)
    always, _ = play(episode, history, every_step=True)
    for one, other in zip(seldom, always, strict=True):
        assert (one.satisfied_at, one.percent_complete, one.missing()) == (
            other.satisfied_at,
            other.percent_complete,
            other.missing(),
        )


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(tasks(), histories)
def test_percent_is_a_share_and_success_is_all_of_it(episode: Episode, history: list[Change]) -> None:
    for score in play(episode, history, every_step=False)[0]:
        assert 0.0 <= score.percent_complete <= 1.0
        assert score.success == (score.percent_complete == 1.0)
        assert score.success == (score.missing() == [])


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(tasks(constrained=False), histories)
def test_progress_without_constraints_only_grows(episode: Episode, history: list[Change]) -> None:
    percents = [score.percent_complete for score in play(episode, history, every_step=False)[0]]
    assert percents == sorted(percents)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(tasks(), histories)
def test_unrolled_copies_are_satisfied_in_order_of_their_numbers(episode: Episode, history: list[Change]) -> None:
    score = play(episode, history, every_step=False)[0][-1]
    numbers = [p.args["number"] for p in episode.evaluation_propositions if isinstance(p.args["number"], int)]
    lists = len(episode.evaluation_propositions) - len(numbers)
    assert len(score.satisfied_at) == sum(numbers) + lists, "number=n counts as n"
    copies = iter(range(len(episode.evaluation_propositions), len(score.satisfied_at)))
    for index, proposition in enumerate(episode.evaluation_propositions):
        number = proposition.args["number"]
        family = [next(copies) for _ in range(1, 1 if isinstance(number, list) else number)] + [index]
        if not isinstance(number, list):
            assert [score.predicates[member].numbers[0] for member in family] == list(range(1, number + 1))
        # Never satisfied sorts last.
        times = [score.satisfied_at[member] if score.satisfied_at[member] >= 0 else 10**9 for member in family]
        assert times == sorted(times)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(CUPS), min_size=2, max_size=2, unique=True), st.integers(1, 5), st.integers(1, 5))
def test_order_is_broken_unless_strictly_later(cups: list[str], first: int, second: int) -> None:
    facts = home()
    rows = [
        Proposition(function_name="is_on_top", args={"object_handles": [cup], "receptacle_handles": ["desk_1"]})
        for cup in cups
    ]
    episode = Episode(
        episode_id="pair",
        scene_id="s",
        instruction="",
        evaluation_propositions=rows,
        evaluation_constraints=[Constraint(type="TemporalConstraint", args={"dag_edges": [[0, 1]]})],
    )
    score = TaskEvaluation(episode, facts)
    for step in sorted({first, second}):
        for cup, when in zip(cups, (first, second), strict=True):
            if when == step:
                apply(facts, (1, cup, "place", ("on", "desk_1")))
        score.update(facts, step)
    assert score.satisfied_at == [first, second]
    assert score.percent_complete == (1.0 if first < second else 0.5)
