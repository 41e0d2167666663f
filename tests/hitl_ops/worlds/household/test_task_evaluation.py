"""Scoring by example: dependencies, unrolling, constraints, the words for what is missing, PARTNR's episode files."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.episode import Constraint, Dependency, Episode, Proposition, read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.task_definition import ArgumentTie, TaskConstraint, TemporalOrder, Terminal, define_task
from hitl_ops.worlds.household.task_evaluation import TaskEvaluation

CUPS = ["cup_1", "cup_2", "cup_3"]
TABLES = ["counter_1", "table_1", "desk_1"]


def home() -> Facts:
    """Three dirty, empty cups on the kitchen counter; every cup rests where its table stands."""
    facts = Facts(
        agents=[AgentFacts(0.0, 0.0), AgentFacts(1.0, 1.0)],
        objects={name: ObjectFacts("cup", "held", "", -1, (0.0, 0.0, 0.0)) for name in CUPS},
        furniture_rooms={
            "counter_1": "kitchen_1",
            "table_1": "kitchen_1",
            "desk_1": "bedroom_1",
            "lamp_1": "bedroom_1",
        },
        furniture_open={},
        furniture_states={"lamp_1": {"is_powered_on": False}},
        doors_open={},
        handles={
            **{"Cup_7_:0000": "cup_1", "Cup_8_:0000": "cup_2", "bedroom.001": "bedroom_1"},
            **{"counter_9a_:0000": "counter_1", "table_c3_:0000": "table_1", "desk_41_:0000": "desk_1"},
        },
    )
    for name in CUPS:
        facts.objects[name].states = {"is_clean": False, "is_filled": False}
        put(facts, name, "counter_1")
    return facts


def put(facts: Facts, name: str, parent: str, aside: float = 0.0) -> None:
    """Put a cup on a table, ``aside`` metres from the table's place; ``agent_0`` picks it up."""
    thing = facts.objects[name]
    thing.relation = "held" if parent == "agent_0" else "on"
    thing.parent = parent
    thing.position = (10.0 * (TABLES.index(parent) if parent in TABLES else 9) + aside, 0.8, 0.0)


def on(*cups: str, at: list[str], **more: Any) -> Proposition:
    args = {"object_handles": list(cups), "receptacle_handles": at, **more}
    return Proposition(function_name="is_on_top", args=args)


def state(name: str, *things: str, **more: Any) -> Proposition:
    return Proposition(function_name=name, args={"object_handles": list(things), **more})


def depends(indices: list[int], on: list[int], relation: Any, mode: Any = "all") -> Dependency:
    return Dependency(proposition_indices=indices, depends_on=on, relation_type=relation, dependency_mode=mode)


def order(*edges: tuple[int, int]) -> Constraint:
    return Constraint(type="TemporalConstraint", args={"dag_edges": [list(edge) for edge in edges]})


def terminal(*indices: int) -> Constraint:
    return Constraint(type="TerminalSatisfactionConstraint", args={"proposition_indices": list(indices)})


def tie(kind: Any, **arguments: list[Any]) -> Constraint:
    return Constraint(type=f"{kind}ArgConstraint", args=arguments)


def task(
    propositions: list[Proposition],
    dependencies: list[Dependency] | None = None,
    constraints: list[Constraint] | None = None,
) -> Episode:
    return Episode(
        episode_id="e_1",
        scene_id="s",
        instruction="",
        evaluation_propositions=propositions,
        evaluation_proposition_dependencies=dependencies or [],
        evaluation_constraints=constraints or [],
    )


def test_progress_is_kept_without_constraints() -> None:
    facts = home()
    score = TaskEvaluation(task([on("cup_1", at=["table_1"]), state("is_powered_on", "lamp_1")]), facts)
    assert (score.percent_complete, score.success, score.satisfied_at) == (0.0, False, [-1, -1])
    put(facts, "cup_1", "table_1")
    score.update(facts, 5)
    put(facts, "cup_1", "agent_0")
    score.update(facts, 9)
    assert (score.percent_complete, score.success, score.satisfied_at) == (0.5, False, [5, -1])
    facts.furniture_states["lamp_1"]["is_powered_on"] = True
    score.update(facts, 9)
    assert (score.percent_complete, score.success, score.satisfied_at) == (1.0, True, [5, 9])
    assert score.missing() == []


def test_the_start_is_step_zero() -> None:
    score = TaskEvaluation(task([on("cup_1", at=["counter_1"])]), home())
    assert score.satisfied_at == [0]
    assert score.success


def test_without_propositions_nothing_is_complete() -> None:
    score = TaskEvaluation(task([]), home())
    assert (score.percent_complete, score.success) == (0.0, False)
    assert len(score.missing()) == 1


def test_time_does_not_run_backwards() -> None:
    facts = home()
    score = TaskEvaluation(task([on("cup_1", at=["table_1"])]), facts)
    score.update(facts, 4)
    with pytest.raises(ValueError, match="step 3 comes after step 4"):
        score.update(facts, 3)


# --- dependencies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "mode", "satisfied_at"),
    [
        # The lamp's switch-on at 10, gated by cup_1 (on the table from 20 to 40) and cup_2 (from 30 to 50).
        ("while_satisfied", "all", 30),
        ("while_satisfied", "any", 20),
        ("after_satisfied", "all", 30),
        ("after_satisfied", "any", 20),
        ("after_unsatisfied", "all", 50),
        ("after_unsatisfied", "any", 40),
        ("before_satisfied", "all", 10),
        ("before_satisfied", "any", 10),
    ],
)
def test_relations_open_the_gate_at_their_moment(relation: str, mode: str, satisfied_at: int) -> None:
    facts = home()
    propositions = [on("cup_1", at=["table_1"]), on("cup_2", at=["table_1"]), state("is_powered_on", "lamp_1")]
    score = TaskEvaluation(task(propositions, [depends([2], [0, 1], relation, mode)]), facts)
    facts.furniture_states["lamp_1"]["is_powered_on"] = True
    score.update(facts, 10)
    for step, cup, place in (
        (20, "cup_1", "table_1"),
        (30, "cup_2", "table_1"),
        (40, "cup_1", "desk_1"),
        (50, "cup_2", "desk_1"),
    ):
        put(facts, cup, place)
        score.update(facts, step)
    assert score.satisfied_at[2] == satisfied_at


@pytest.mark.parametrize(("mode", "counts"), [("all", False), ("any", True)])
def test_before_satisfied_closes_for_good(mode: str, counts: bool) -> None:
    facts = home()
    propositions = [on("cup_1", at=["table_1"]), on("cup_2", at=["table_1"]), state("is_powered_on", "lamp_1")]
    score = TaskEvaluation(task(propositions, [depends([2], [0, 1], "before_satisfied", mode)]), facts)
    put(facts, "cup_1", "table_1")
    score.update(facts, 1)
    put(facts, "cup_1", "desk_1")
    score.update(facts, 2)
    facts.furniture_states["lamp_1"]["is_powered_on"] = True
    score.update(facts, 3)
    assert (score.satisfied_at[2] == 3) is counts


def test_several_dependencies_must_all_be_met() -> None:
    facts = home()
    propositions = [on("cup_1", at=["table_1"]), on("cup_2", at=["table_1"]), state("is_dirty", "cup_3")]
    gates = [depends([2], [0], "after_satisfied"), depends([2], [1], "while_satisfied")]
    score = TaskEvaluation(task(propositions, gates), facts)
    put(facts, "cup_1", "table_1")
    score.update(facts, 1)
    assert score.satisfied_at == [1, -1, -1]
    put(facts, "cup_2", "table_1")
    score.update(facts, 2)
    assert score.satisfied_at == [1, 2, 2]


def test_chain_waits_for_the_return_not_for_the_start() -> None:
    """Counter → table → counter → table: a cup that starts on the counter has not been returned to it."""
    facts = home()
    there, back = on("cup_1", at=["table_1"]), on("cup_1", at=["counter_1"])
    gates = [depends([1], [0], "after_satisfied"), depends([2], [1], "after_satisfied")]
    score = TaskEvaluation(task([there, back, there], gates, [order((0, 1), (1, 2))]), facts)
    for step, place in ((10, "table_1"), (20, "counter_1"), (30, "table_1")):
        put(facts, "cup_1", place)
        score.update(facts, step)
    assert score.satisfied_at == [10, 20, 30]
    assert score.success


def test_dependencies_listed_in_any_order_are_followed() -> None:
    facts = home()
    propositions = [state("is_powered_on", "lamp_1"), on("cup_1", at=["table_1"])]
    score = TaskEvaluation(task(propositions, [depends([0], [1], "while_satisfied")]), facts)
    facts.furniture_states["lamp_1"]["is_powered_on"] = True
    put(facts, "cup_1", "table_1")
    score.update(facts, 1)
    assert score.satisfied_at == [1, 1]


# --- unrolling ------------------------------------------------------------------------------------------------


def test_number_unrolls_into_steps_of_their_own() -> None:
    facts = home()
    score = TaskEvaluation(task([on(*CUPS, at=["table_1"], number=3), state("is_powered_on", "lamp_1")]), facts)
    assert [predicate.numbers for predicate in score.predicates] == [(3,), (1,), (1,), (2,)]
    for step, expected in ((1, [-1, -1, 1, -1]), (2, [-1, -1, 1, 2]), (3, [3, -1, 1, 2])):
        put(facts, CUPS[step - 1], "table_1")
        score.update(facts, step)
        assert score.satisfied_at == expected
        assert score.percent_complete == step / 4


def test_unrolling_extends_constraints_and_dependencies() -> None:
    propositions = [
        on("cup_1", at=["table_1"]),
        on(*CUPS, at=TABLES, number=3),
        on("cup_2", at=["desk_1"]),
    ]
    episode = task(
        propositions,
        [depends([1], [0], "after_satisfied"), depends([2], [1], "after_satisfied")],
        [
            order((0, 1), (1, 2)),
            tie("Same", proposition_indices=[0, 1], arg_names=["receptacle_handles"] * 2),
            tie("Different", proposition_indices=[1, 2], arg_names=["object_handles"] * 2),
            terminal(0, 1),
        ],
    )
    before = episode.model_dump_json()
    unrolled = define_task(episode, home())
    assert episode.model_dump_json() == before, "the episode itself is not changed"
    assert unrolled.families == ((3, 4, 1),)
    gated = {index: [gate.depends_on for gate in gates] for index, gates in enumerate(unrolled.gates) if gates}
    assert gated == {1: [(0,)], 3: [(0,)], 4: [(0,)], 2: [(1,)]}, "copies depend; nothing depends on copies"
    names: list[TaskConstraint] = [
        TemporalOrder({1: frozenset({0}), 3: frozenset({0}), 4: frozenset({0}), 2: frozenset({0, 1, 3, 4})}),
        ArgumentTie(True, dict.fromkeys((0, 1, 3, 4), "receptacle_handles")),
        ArgumentTie(False, dict.fromkeys((1, 2), "object_handles")),
        Terminal(frozenset({0, 1, 3, 4})),
        ArgumentTie(False, dict.fromkeys((3, 2), "object_handles")),
        ArgumentTie(False, dict.fromkeys((4, 2), "object_handles")),
    ]
    assert list(unrolled.constraints) == names


def test_list_of_numbers_is_not_unrolled() -> None:
    clustered = Proposition(
        function_name="is_clustered", args={"*args": [["cup_1", "cup_2"], ["cup_3"]], "number": [2, 1]}
    )
    score = TaskEvaluation(task([clustered]), home())
    assert score.satisfied_at == [0]


# --- constraints ----------------------------------------------------------------------------------------------


def lamp_then_cup(facts: Facts, lamp: int, cup: int) -> TaskEvaluation:
    """The lamp must be switched on before cup_1 comes to the table; they happen at the steps given."""
    score = TaskEvaluation(
        task([state("is_powered_on", "lamp_1"), on("cup_1", at=["table_1"])], [], [order((0, 1))]), facts
    )
    for step in sorted({lamp, cup}):
        facts.furniture_states["lamp_1"]["is_powered_on"] |= step == lamp
        if step == cup:
            put(facts, "cup_1", "table_1")
        score.update(facts, step)
    return score


def test_order_is_strict() -> None:
    assert lamp_then_cup(home(), lamp=1, cup=2).success
    too_early = lamp_then_cup(home(), lamp=2, cup=1)
    assert (too_early.satisfied_at, too_early.percent_complete) == ([2, 1], 0.5)
    together = lamp_then_cup(home(), lamp=2, cup=2)
    assert (together.satisfied_at, together.percent_complete) == ([2, 2], 0.5)
    done = "cup_1 was placed on table_1 (kitchen_1)"
    assert too_early.missing() == [f"{done} before lamp_1 was switched on: order broken"]
    assert together.missing() == [f"{done} at the very moment lamp_1 was switched on: order broken"]


def test_order_reaches_back_through_all_ancestors() -> None:
    facts = home()
    steps = [on("cup_1", at=["table_1"]), on("cup_2", at=["table_1"]), on("cup_3", at=["table_1"])]
    score = TaskEvaluation(task(steps, [], [order((0, 1), (1, 2))]), facts)
    for step, cup in enumerate(("cup_2", "cup_3", "cup_1"), start=1):
        put(facts, cup, "table_1")
        score.update(facts, step)
    # cup_3 came after cup_2, but neither came after cup_1.
    assert score.percent_complete == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("kind", "places", "valid"),
    [
        ("Same", ("table_1", "table_1"), True),
        ("Same", ("table_1", "desk_1"), False),
        ("Different", ("table_1", "table_1"), False),
        ("Different", ("table_1", "desk_1"), True),
    ],
)
def test_ties_of_arguments(kind: str, places: tuple[str, str], valid: bool) -> None:
    facts = home()
    propositions = [on("cup_1", at=["table_1", "desk_1"]), on("cup_2", at=["table_1", "desk_1"])]
    constraint = tie(kind, proposition_indices=[1, 0], arg_names=["receptacle_handles"] * 2)
    score = TaskEvaluation(task(propositions, [], [constraint]), facts)
    for step, (cup, place) in enumerate(zip(("cup_1", "cup_2"), places, strict=True), start=1):
        put(facts, cup, place)
        score.update(facts, step)
    assert score.percent_complete == (1.0 if valid else 0.5)
    wanted = {"Same": "the same", "Different": "another"}[kind]
    expected = (
        f"cup_2 was placed on table_1 (kitchen_1) or desk_1 (bedroom_1) with furniture {places[1]}, but it must be "
        f"{wanted} furniture as when cup_1 was placed on table_1 (kitchen_1) or desk_1 (bedroom_1)"
    )
    assert score.missing() == ([] if valid else [expected])


def test_ties_use_the_value_at_the_moment_of_satisfaction() -> None:
    facts = home()
    propositions = [on("cup_1", at=["table_1", "desk_1"]), on("cup_2", at=["table_1", "desk_1"])]
    constraint = tie("Same", proposition_indices=[0, 1], arg_names=["receptacle_handles"] * 2)
    score = TaskEvaluation(task(propositions, [], [constraint]), facts)
    for step, (cup, place) in enumerate((("cup_1", "table_1"), ("cup_2", "desk_1"), ("cup_2", "table_1")), start=1):
        put(facts, cup, place)
        score.update(facts, step)
    assert score.percent_complete == 0.5


@pytest.mark.parametrize("arrivals", list(itertools.permutations(CUPS[:2])))
def test_copies_stand_for_objects_in_order_of_arrival(arrivals: tuple[str, str]) -> None:
    """Two cups on the table the third is on: the second to arrive elsewhere breaks it, whichever is listed first."""
    facts = home()
    propositions = [on("cup_1", "cup_2", at=["table_1", "desk_1"], number=2), on("cup_3", at=["table_1", "desk_1"])]
    constraint = tie("Same", proposition_indices=[0, 1], arg_names=["receptacle_handles"] * 2)
    score = TaskEvaluation(task(propositions, [], [constraint]), facts)
    moves = ((arrivals[0], "table_1"), ("cup_3", "table_1"), (arrivals[1], "desk_1"))
    for step, (cup, place) in enumerate(moves, start=1):
        put(facts, cup, place)
        score.update(facts, step)
    assert score.satisfied_at == [3, 2, 1]
    assert score.percent_complete == pytest.approx(2 / 3)


def test_ties_over_a_cluster_share_an_element() -> None:
    facts = home()
    clustered = Proposition(function_name="is_clustered", args={"*args": [["cup_1", "cup_2"], ["cup_3"]]})
    constraint = tie("Same", proposition_indices=[1, 0], arg_names=["object_handles", "*args_0"])
    for dirty, valid in (("cup_2", True), ("cup_3", False)):
        facts = home()
        for position, cup in enumerate(CUPS):
            put(facts, cup, "counter_1", aside=3.0 * position)
        score = TaskEvaluation(task([clustered, state("is_clean", dirty)], [], [constraint]), facts)
        facts.objects[dirty].states["is_clean"] = True
        score.update(facts, 1)
        put(facts, "cup_2", "counter_1", aside=6.3)
        score.update(facts, 2)
        assert score.satisfied_at == [2, 1]
        assert score.success is valid


def test_terminal_satisfaction_follows_the_last_state() -> None:
    facts = home()
    score = TaskEvaluation(task([on("cup_1", at=["table_1"])], [], [terminal(0)]), facts)
    for step, (place, complete) in enumerate((("table_1", 1.0), ("agent_0", 0.0), ("table_1", 1.0)), start=1):
        put(facts, "cup_1", place)
        score.update(facts, step)
        assert score.percent_complete == complete
        wanted = [] if complete else ["cup_1 must still be on table_1 (kitchen_1) at the end"]
        assert score.missing() == wanted
    assert score.satisfied_at == [1]


# --- words ----------------------------------------------------------------------------------------------------


def test_missing_speaks_plainly() -> None:
    facts = home()
    propositions = [
        on("cup_1", "cup_2", at=["table_1", "floor_bedroom_1"]),
        on(*CUPS, at=["table_1", "desk_1"], number=2, is_same_receptacle=True),
        Proposition(function_name="is_in_room", args={"object_handles": ["cup_3"], "room_ids": ["bedroom_1"]}),
        Proposition(function_name="is_on_floor", args={"object_handles": CUPS, "number": 3}),
        Proposition(function_name="is_next_to", args={"entity_handles_a": ["cup_1"], "entity_handles_b": ["cup_2"]}),
        state("is_powered_on", "lamp_1"),
    ]
    gates = [depends([4], [0, 2], "while_satisfied"), depends([5], [2, 3], "after_satisfied", "any")]
    put(facts, "cup_3", "table_1")
    assert TaskEvaluation(task(propositions, gates), facts).missing() == [
        "cup_1 or cup_2 must be on table_1 (kitchen_1) or the floor of bedroom_1",
        "2 of cup_1, cup_2, cup_3 must be on table_1 (kitchen_1) or desk_1 (bedroom_1) (the same one), 1 so far",
        "cup_3 must be in bedroom_1",
        "cup_1, cup_2 and cup_3 must be on the floor",
        "cup_1 must be next to cup_2 (counts only while cup_1 or cup_2 is on table_1 (kitchen_1) or the floor of "
        "bedroom_1 and cup_3 is in bedroom_1)",
        "lamp_1 must be switched on (counts only after this was so: cup_3 is in bedroom_1 or cup_1, cup_2 and cup_3 "
        "are on the floor)",
    ]


# --- mistakes -------------------------------------------------------------------------------------------------

TWO = [on("cup_1", at=["table_1"]), on("cup_2", at=["table_1"])]


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        (task([on("cup_9", at=["table_1"])]), "proposition 0 .is_on_top.: object 'cup_9' is unknown"),
        (task(TWO, [depends([2], [0], "after_satisfied")]), "dependency 0: there is no proposition 2"),
        (task(TWO, [depends([0], [-1], "after_satisfied")]), "dependency 0: there is no proposition -1"),
        (
            task(TWO, [depends([0], [1], "after_satisfied"), depends([1], [0], "before_satisfied")]),
            "dependencies form a cycle over propositions",
        ),
        (task(TWO, [], [order((0, 1), (1, 0))]), "temporal edges form a cycle"),
        (task(TWO, [], [order((0, 2))]), "TemporalConstraint: there is no proposition 2"),
        (task(TWO, [], [terminal(5)]), "TerminalSatisfactionConstraint: there is no proposition 5"),
        (task(TWO, [], [Constraint(type="TemporalConstraint", args={})]), "'dag_edges' must be a list"),
        (task(TWO, [], [Constraint(type="TemporalConstraint", args={"dag_edges": [[0]]})]), "is not an edge"),
        (task(TWO, [], [tie("Same", proposition_indices=[0, 1], arg_names=["x"])]), "2 propositions but 1 arg_names"),
        (
            task(TWO, [], [tie("Same", proposition_indices=[0, 1], arg_names=["object_handles", "room_ids"])]),
            "proposition 1 has no argument 'room_ids'",
        ),
    ],
)
def test_contradictory_tasks_are_refused_at_set_up(episode: Episode, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        TaskEvaluation(episode, home())
    assert str(caught.value).startswith("episode 'e_1'")
    assert "\n" not in str(caught.value)


# --- PARTNR's own schema --------------------------------------------------------------------------------------


def partnr_episode(tmp_path: Path, episode_id: str) -> Episode:
    packed = tmp_path / "val.json.gz"
    packed.write_bytes(gzip.compress((Path(__file__).parent / "partnr_episodes.json").read_bytes()))
    return {episode.episode_id: episode for episode in read_episodes(packed)}[episode_id]


def test_partnr_spatial_episode(tmp_path: Path) -> None:
    facts = home()
    score = TaskEvaluation(partnr_episode(tmp_path, "41"), facts)
    assert score.satisfied_at == [-1, -1, -1], "side by side on the counter does not count"
    put(facts, "cup_1", "table_1")
    score.update(facts, 100)
    put(facts, "cup_2", "table_1", aside=0.7)
    score.update(facts, 200)
    assert score.percent_complete == pytest.approx(2 / 3)
    put(facts, "cup_2", "table_1", aside=0.4)
    score.update(facts, 300)
    assert score.success
    # Carried elsewhere together they are still neighbours, but no longer while on the table.
    for cup in ("cup_1", "cup_2"):
        put(facts, cup, "desk_1")
    score.update(facts, 400)
    assert score.percent_complete == 0.0


def test_partnr_temporal_episode(tmp_path: Path) -> None:
    episode = partnr_episode(tmp_path, "42")
    facts = home()
    score = TaskEvaluation(episode, facts)
    assert score.satisfied_at == [-1, -1, -1]
    put(facts, "cup_2", "table_1")
    score.update(facts, 10)
    # cup_1 waits on the counter all the while: after proposition 0 it satisfies proposition 2 at once, too early
    # and with the wrong cup. Such a task can be played only with cup_1 out of the way; the score must say so.
    assert score.satisfied_at == [10, -1, 10]
    assert score.percent_complete == pytest.approx(1 / 3)

    facts = home()
    put(facts, "cup_2", "desk_1")
    score = TaskEvaluation(episode, facts)
    put(facts, "cup_1", "table_1")
    score.update(facts, 10)
    facts.objects["cup_1"].states["is_filled"] = True
    score.update(facts, 20)
    put(facts, "cup_1", "counter_1")
    score.update(facts, 30)
    assert score.satisfied_at == [10, 20, 30]
    assert score.success
    facts.objects["cup_1"].states["is_filled"] = False
    score.update(facts, 40)
    assert score.missing() == ["cup_1 or cup_2 must still be filled at the end"]


def test_partnr_heterogeneous_episode(tmp_path: Path) -> None:
    facts = home()
    score = TaskEvaluation(partnr_episode(tmp_path, "43"), facts)
    assert len(score.satisfied_at) == 4
    for step, cup in enumerate(("cup_2", "cup_1"), start=1):
        facts.objects[cup].states["is_clean"] = True
        put(facts, cup, "desk_1")
        score.update(facts, step)
        assert score.percent_complete == step / 2
    assert score.success
