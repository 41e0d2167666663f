"""Each predicate on a small home, its alternatives and numbers, and complaints about a task that doesn't fit."""

from __future__ import annotations

from typing import Any

import pytest

from hitl_ops.contracts.episode import Proposition
from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household.facts import AgentFacts, Facts, ObjectFacts
from hitl_ops.worlds.household.predicates import PREDICATES, Bindings, compile_predicate


def home() -> Facts:
    """Two cups on a kitchen table, a plate in its cupboard, a book on the bedroom floor, a toy in agent_0's hand."""
    return Facts(
        agents=[AgentFacts(0.0, 0.0, held="toy_1"), AgentFacts(1.0, 1.0)],
        objects={
            "cup_1": ObjectFacts("cup", "on", "table_1", 0, (0.0, 0.8, 0.0), {"is_clean": True, "is_filled": False}),
            "cup_2": ObjectFacts("cup", "on", "table_1", 1, (0.3, 0.8, 0.4), {"is_clean": False, "is_filled": True}),
            "plate_1": ObjectFacts("plate", "within", "cupboard_1", 0, (0.3, 1.2, 0.4), {"is_clean": True}),
            "book_1": ObjectFacts("book", "floor", "floor_bedroom_1", 0, (5.0, 0.0, 5.0)),
            "toy_1": ObjectFacts("toy", "held", "agent_0", -1, (0.0, 0.8, 0.1)),
        },
        furniture_rooms={
            "table_1": "kitchen_1",
            "table_2": "kitchen_1",
            "cupboard_1": "kitchen_1",
            "lamp_1": "bedroom_1",
        },
        furniture_open={"cupboard_1": False},
        furniture_states={"lamp_1": {"is_powered_on": False}},
        doors_open={},
        handles={"CUP_A_:0000": "cup_1", "bedroom.001": "bedroom_1"},
        furniture_boxes={"lamp_1": ((5.2, 0.0, 5.2), (5.6, 1.5, 5.6)), "table_2": ((3.0, 0.0, 0.0), (4.0, 0.8, 1.0))},
    )


def ask(facts: Facts, function_name: str, **args: Any) -> tuple[bool, Bindings]:
    if "star" in args:
        args["*args"] = args.pop("star")
    predicate = compile_predicate(
        Proposition(function_name=function_name, args=args), facts, "episode 'e', proposition 0"
    )
    holds, bindings = predicate(facts)
    assert predicate.holds(facts) is holds
    assert set(bindings) <= set(predicate.argument_names)
    return holds, bindings


def true_of(facts: Facts, function_name: str, **args: Any) -> bool:
    return ask(facts, function_name, **args)[0]


def test_on_top_and_inside_tell_surface_from_inside() -> None:
    facts = home()
    assert ask(facts, "is_on_top", object_handles=["cup_1"], receptacle_handles=["table_1"]) == (
        True,
        {"object_handles": ("cup_1",), "receptacle_handles": ("table_1",)},
    )
    assert not true_of(facts, "is_on_top", object_handles=["cup_1"], receptacle_handles=["table_2"])
    assert not true_of(facts, "is_inside", object_handles=["cup_1"], receptacle_handles=["table_1"])
    assert true_of(facts, "is_inside", object_handles=["plate_1"], receptacle_handles=["cupboard_1"])
    assert not true_of(facts, "is_on_top", object_handles=["plate_1"], receptacle_handles=["cupboard_1"])


def test_room_counts_furniture_and_floor() -> None:
    facts = home()
    for name, room in (("cup_1", "kitchen_1"), ("plate_1", "kitchen_1"), ("book_1", "bedroom_1")):
        assert ask(facts, "is_in_room", object_handles=[name], room_ids=["kitchen_1", "bedroom_1"])[1]["room_ids"] == (
            room,
        )
    assert not true_of(facts, "is_in_room", object_handles=["book_1"], room_ids=["kitchen_1"])


def test_on_floor_by_itself_and_as_a_receptacle() -> None:
    facts = home()
    assert ask(facts, "is_on_floor", object_handles=["cup_1", "book_1"]) == (True, {"object_handles": ("book_1",)})
    assert not true_of(facts, "is_on_floor", object_handles=["cup_1", "toy_1"])
    assert true_of(facts, "is_on_top", object_handles=["book_1"], receptacle_handles=["floor_bedroom_1"])
    assert not true_of(facts, "is_on_top", object_handles=["book_1"], receptacle_handles=["floor_kitchen_1"])


def test_held_object_is_nowhere() -> None:
    facts = home()
    assert not true_of(facts, "is_on_top", object_handles=["toy_1"], receptacle_handles=["table_1", "table_2"])
    assert not true_of(facts, "is_inside", object_handles=["toy_1"], receptacle_handles=["cupboard_1"])
    assert not true_of(facts, "is_in_room", object_handles=["toy_1"], room_ids=["kitchen_1", "bedroom_1"])
    assert not true_of(facts, "is_on_floor", object_handles=["toy_1"])
    assert not true_of(facts, "is_next_to", entity_handles_a=["toy_1"], entity_handles_b=["cup_1"])
    assert not true_of(facts, "is_clustered", star=[["toy_1"], ["cup_1"]])


def test_next_to_is_half_a_metre_on_one_level() -> None:
    facts = home()
    pair = {"entity_handles_a": ["cup_1"], "entity_handles_b": ["cup_2"]}
    assert true_of(facts, "is_next_to", **pair), "0.3 and 0.4 make exactly 0.5"
    assert not true_of(facts, "is_next_to", **pair, l2_threshold=0.49)
    facts.objects["cup_2"].position = (0.3, 0.9, 0.4)
    assert true_of(facts, "is_next_to", **pair), "0.1 m of height is allowed"
    facts.objects["cup_2"].position = (0.3, 0.91, 0.4)
    assert not true_of(facts, "is_next_to", **pair)
    assert not true_of(facts, "is_next_to", entity_handles_a=["cup_1"], entity_handles_b=["cup_1"]), (
        "not next to itself"
    )


def test_next_to_furniture_measures_from_its_box() -> None:
    facts = home()
    beside = {"entity_handles_a": ["book_1"], "entity_handles_b": ["lamp_1"]}
    assert ask(facts, "is_next_to", **beside) == (
        True,
        {"entity_handles_a": ("book_1",), "entity_handles_b": ("lamp_1",)},
    )
    facts.objects["book_1"].position = (4.6, 0.0, 5.4)
    assert not true_of(facts, "is_next_to", **beside)
    assert true_of(facts, "is_next_to", **beside, l2_threshold=0.6)
    with pytest.raises(UserError, match="'table_1' is unknown"):
        ask(facts, "is_next_to", entity_handles_a=["book_1"], entity_handles_b=["table_1"])


def test_clustered_is_connected_not_pairwise() -> None:
    facts = home()
    for position, name in enumerate(("cup_1", "cup_2", "plate_1")):
        facts.objects[name].position = (0.45 * position, 0.8, 0.0)
    groups = [["cup_1", "book_1"], ["cup_2"], ["plate_1"]]
    assert not true_of(facts, "is_next_to", entity_handles_a=["cup_1"], entity_handles_b=["plate_1"])
    assert ask(facts, "is_clustered", star=groups) == (
        True,
        {"*args_0": ("cup_1",), "*args_1": ("cup_2",), "*args_2": ("plate_1",)},
    )
    facts.objects["cup_2"].position = (9.0, 0.8, 9.0)
    assert not true_of(facts, "is_clustered", star=groups)


def test_clustered_needs_its_number_of_every_group() -> None:
    facts = home()
    groups = [["cup_1", "cup_2", "book_1"], ["plate_1"]]
    facts.objects["plate_1"].position = (0.1, 0.8, 0.0)
    assert true_of(facts, "is_clustered", star=groups, number=[2, 1])
    assert not true_of(facts, "is_clustered", star=groups, number=[3, 1])
    facts.objects["cup_2"].position = (3.0, 0.8, 0.0)
    assert not true_of(facts, "is_clustered", star=groups, number=[2, 1])
    assert true_of(facts, "is_clustered", star=groups, number=1)


def test_largest_of_several_clusters_counts() -> None:
    facts = home()
    for name, x in (("cup_1", 0.0), ("cup_2", 0.1), ("plate_1", 5.0), ("book_1", 5.1), ("toy_1", 5.2)):
        facts.objects[name].relation, facts.objects[name].position = "on", (x, 0.8, 0.0)
    assert ask(facts, "is_clustered", star=[sorted(facts.objects)], number=[2])[1] == {
        "*args_0": ("book_1", "plate_1", "toy_1")
    }


@pytest.mark.parametrize(
    ("positive", "negative", "thing"),
    [
        ("is_clean", "is_dirty", "cup_1"),
        ("is_filled", "is_empty", "cup_1"),
        ("is_powered_on", "is_powered_off", "lamp_1"),
    ],
)
def test_states_and_their_negations(positive: str, negative: str, thing: str) -> None:
    facts = home()
    states = facts.objects[thing].states if thing in facts.objects else facts.furniture_states[thing]
    for value in (True, False):
        states[positive] = value
        assert true_of(facts, positive, object_handles=[thing]) is value
        assert true_of(facts, negative, object_handles=[thing]) is not value


def test_negation_holds_if_any_handle_satisfies_it() -> None:
    facts = home()
    both = ["cup_1", "cup_2"]
    for first, second, dirty in ((False, True, True), (True, True, False), (False, False, True)):
        facts.objects["cup_1"].states["is_clean"], facts.objects["cup_2"].states["is_clean"] = first, second
        assert true_of(facts, "is_dirty", object_handles=both) is dirty


def test_number_counts_different_things() -> None:
    facts = home()
    cups = {"object_handles": ["cup_1", "cup_2", "book_1"], "receptacle_handles": ["table_1", "table_2"]}
    assert ask(facts, "is_on_top", **cups, number=2) == (
        True,
        {"object_handles": ("cup_1", "cup_2"), "receptacle_handles": ("table_1", "table_1")},
    )
    assert not true_of(facts, "is_on_top", **cups, number=3)
    # Next to both others, but still one thing (upstream would count two pairs); its own handle twice adds nothing.
    facts.objects["plate_1"].position = (0.1, 0.8, 0.1)
    near = {"entity_handles_a": ["plate_1", "book_1"], "entity_handles_b": ["cup_1", "cup_2"]}
    assert true_of(facts, "is_next_to", **near)
    assert not true_of(facts, "is_next_to", **near, number=2)
    with pytest.raises(UserError, match="asks for 2 of only 1"):
        ask(facts, "is_on_top", object_handles=["cup_1", "CUP_A_:0000"], receptacle_handles=["table_1"], number=2)


@pytest.mark.parametrize("flag", ["is_same_receptacle", "is_same_b"])
def test_same_receptacle(flag: str) -> None:
    facts = home()
    cups = {"object_handles": ["cup_1", "cup_2"], "receptacle_handles": ["table_2", "table_1"], "number": 2, flag: True}
    assert ask(facts, "is_on_top", **cups)[1]["receptacle_handles"] == ("table_1", "table_1")
    facts.objects["cup_2"].parent = "table_2"
    assert not true_of(facts, "is_on_top", **cups)
    assert true_of(facts, "is_on_top", **{**cups, flag: False})


def test_same_neighbour_and_same_room() -> None:
    facts = home()
    facts.objects["plate_1"].position, facts.objects["book_1"].position = (3.0, 0.0, 3.0), (3.1, 0.0, 3.0)
    both = {"entity_handles_a": ["cup_1", "plate_1"], "entity_handles_b": ["cup_2", "book_1"], "number": 2}
    assert true_of(facts, "is_next_to", **both)
    assert not true_of(facts, "is_next_to", **both, is_same_b=True)
    apart = {"object_handles": ["cup_1", "book_1"], "room_ids": ["kitchen_1", "bedroom_1"], "number": 2}
    assert true_of(facts, "is_in_room", **apart)
    assert not true_of(facts, "is_in_room", **apart, is_same_room=True)


def test_handles_of_other_data_sets_are_translated() -> None:
    facts = home()
    bindings = ask(facts, "is_in_room", object_handles=["CUP_A_:0000"], room_ids=["bedroom.001", "kitchen_1"])[1]
    assert bindings == {"object_handles": ("cup_1",), "room_ids": ("kitchen_1",)}


def test_a_room_without_furniture_must_be_listed() -> None:
    facts = home()
    with pytest.raises(UserError, match="room 'hall_1' is unknown"):
        ask(facts, "is_in_room", object_handles=["cup_1"], room_ids=["hall_1"])
    facts.rooms = ("hall_1",)
    assert not true_of(facts, "is_in_room", object_handles=["cup_1"], room_ids=["hall_1"])


ON = {"object_handles": ["cup_1"], "receptacle_handles": ["table_1"]}


@pytest.mark.parametrize(
    ("function_name", "args", "message"),
    [
        ("is_on_tpo", ON, "predicate 'is_on_tpo' is unknown: did you mean 'is_on_top'"),
        ("is_on_top", {**ON, "object_handles": ["cup_9"]}, "object 'cup_9' is unknown: did you mean 'cup_"),
        ("is_on_top", {**ON, "receptacle_handles": ["sofa_1"]}, "receptacle 'sofa_1' is unknown"),
        ("is_inside", {**ON, "receptacle_handles": ["floor_kitchen_1"]}, "receptacle 'floor_kitchen_1' is unknown"),
        ("is_on_top", {**ON, "objects": []}, "argument 'objects' is unknown"),
        ("is_on_top", {"object_handles": ["cup_1"]}, "argument 'receptacle_handles' is missing"),
        ("is_on_top", {**ON, "object_handles": "cup_1"}, "must be a list of at least one handle"),
        ("is_on_top", {**ON, "object_handles": []}, "must be a list of at least one handle"),
        ("is_on_top", {**ON, "number": 0}, "number 0 is not a positive"),
        ("is_on_top", {**ON, "number": [1]}, r"number \[1\] is not a positive"),
        ("is_on_top", {**ON, "number": True}, "number True is not a positive"),
        ("is_in_room", {"object_handles": ["cup_1"], "room_ids": ["attic_1"]}, "room 'attic_1' is unknown"),
        ("is_clean", {"object_handles": ["book_1"]}, "'book_1' has no state 'is_clean'"),
        ("is_powered_off", {"object_handles": ["table_1"]}, "'table_1' has no state 'is_powered_on'"),
        (
            "is_next_to",
            {"entity_handles_a": ["cup_1"], "entity_handles_b": ["cup_2"], "l2_threshold": -1},
            "l2_threshold -1",
        ),
        ("is_clustered", {"*args": [["cup_1"], ["cup_2"]], "number": [1]}, "one entry for each of the 2 groups"),
        ("is_clustered", {"*args": [["cup_1"], ["cup_2"]], "number": [1, 2]}, "asks for 2 of only 1"),
        ("is_clustered", {"*args": []}, "must be a list of lists"),
    ],
)
def test_complaints_name_the_episode_and_the_thing(function_name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compile_predicate(Proposition(function_name=function_name, args=args), home(), "episode 'e_7', proposition 3")
    assert str(caught.value).startswith("episode 'e_7', proposition 3")
    assert "\n" not in str(caught.value)


def test_every_predicate_of_the_data_set_is_known() -> None:
    assert set(PREDICATES) == {
        *("is_on_top", "is_inside", "is_in_room", "is_on_floor", "is_next_to", "is_clustered"),
        *("is_clean", "is_dirty", "is_filled", "is_empty", "is_powered_on", "is_powered_off"),
    }
