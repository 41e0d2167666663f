"""Replies as models really write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.experts.react_reply import find_calls, parse_joint_reply, parse_reply, tidy_turn

ADMISSIBLE = [
    "Explore[kitchen_1]",
    "Explore[living_room_1]",
    "Navigate[floor_kitchen_1]",
    "Pick[mug_1]",
    "Place[mug_1, on, coffee_table_1, None, None]",
    "Place[mug_1, on, coffee_table_1, next_to, plate_2]",
    "Wait[]",
    "Done[]",
]
PLACE = "Place[mug_1, on, coffee_table_1, None, None]"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        pytest.param("Thought: I hold nothing.\nPick[mug_1]\nAssigned!", "Pick[mug_1]", id="as asked"),
        pytest.param("Pick[mug_1]", "Pick[mug_1]", id="no thought"),
        pytest.param("**Thought:** hm\n\n**Action:** `Pick[mug_1]`", "Pick[mug_1]", id="markdown"),
        pytest.param("Sure!\n```text\nPick[mug_1]\n```\nHope that helps.", "Pick[mug_1]", id="code fence"),
        pytest.param("- **Explore[kitchen_1]**", "Explore[kitchen_1]", id="bullet"),
        pytest.param("pick[ Mug 1 ]", "Pick[mug_1]", id="wrong case, spaces for underscores"),
        pytest.param("Explore[kitchen1]", "Explore[kitchen_1]", id="underscore left out"),
        pytest.param('Explore [ "living room 1" ]', "Explore[living_room_1]", id="quotes and spacing"),
        pytest.param("Navigate(floor_kitchen_1)", "Navigate[floor_kitchen_1]", id="round brackets"),
        pytest.param("Thought: go.\nPick[mug_1\nAssigned!", "Pick[mug_1]", id="bracket not closed"),
        pytest.param("Thought: go.\nPick mug_1\nAssigned!", "Pick[mug_1]", id="no brackets"),
        pytest.param("Action: Done", "Done[]", id="no brackets, no arguments"),
        pytest.param("Place[mug_1, on, coffee_table_1]", PLACE, id="optional arguments left out"),
        pytest.param("Place['mug_1', on, coffee table 1, null, null]", PLACE, id="null for None"),
        pytest.param("Place[\n  mug_1,\n  on,\n  coffee_table_1,\n  None,\n  None\n]", PLACE, id="over several lines"),
        pytest.param("Place[obj=mug_1, relation=on, furn=coffee_table_1, None, None]", PLACE, id="named arguments"),
        pytest.param(
            "place(mug_1, on, coffee_table_1, next_to, plate_2)",
            "Place[mug_1, on, coffee_table_1, next_to, plate_2]",
            id="not mistaken for the one without next_to",
        ),
        pytest.param('{"thought": "x", "action": "Pick[mug_1]"}', "Pick[mug_1]", id="JSON"),
        pytest.param("1. Explore[kitchen_1]\n2. Pick[mug_1]", "Explore[kitchen_1]", id="several: the first"),
        pytest.param("Open[fridge_9]\nPick[mug_1]", "Pick[mug_1]", id="several: the first admissible"),
        pytest.param("I might Wait[] but no.\nPick[mug_1]", "Pick[mug_1]", id="meant, not talked about"),
        pytest.param("I think I will Pick[mug_1], then leave.", "Pick[mug_1]", id="inside a sentence"),
        pytest.param("<think>Done[]\nAssigned!</think>Pick[mug_1]", "Pick[mug_1]", id="hidden thinking"),
        pytest.param("Assigned!\nPick[mug_1]", "Pick[mug_1]", id="closing word first"),
        pytest.param("Agent_1_Action: Pick[mug_1]", "Pick[mug_1]", id="label"),
        pytest.param("", None, id="empty"),
        pytest.param("   \n\n", None, id="blank"),
        pytest.param("I am not sure what to do next.", None, id="chatter"),
        pytest.param("Pick[mug_2]", None, id="not admissible"),
        pytest.param("Teleport[mug_1]", None, id="no such tool"),
        pytest.param("Pick[mug_1, mug_1]", None, id="too many arguments"),
        pytest.param("Pick[]", None, id="no argument"),
        pytest.param("Done!", None, id="a manner of speaking"),
        pytest.param("Wait ...", None, id="another"),
        pytest.param("<think>Pick[mug_1] and then", None, id="thinking never ended"),
        pytest.param("Thought: Pick[mug_1] was tried.\nPick[mug_2]", None, id="meant call is inadmissible"),
        pytest.param("Pick[mug_2]\nAssigned!\nResult: no\nPick[mug_1]\nAssigned!", None, id="turns made up"),
        pytest.param("Result: Successful execution!\nPick[mug_1]", None, id="plays the world"),
    ],
)
def test_a_reply_is_read(text: str, action: str | None) -> None:
    assert parse_reply(text, ADMISSIBLE) == action


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.sampled_from([*"[](){}\n,:!_` ", *ADMISSIBLE, "Assigned!"])).map("".join)
    )
)
def test_nothing_but_admissible_actions_ever_comes_out(text: str) -> None:
    assert parse_reply(text, ADMISSIBLE[:4]) in {None, *ADMISSIBLE[:4]}
    assert set(parse_joint_reply(text, {0: ADMISSIBLE[:2], 1: []}).items()) <= {(0, name) for name in ADMISSIBLE[:2]}


def test_two_actions_of_nearly_one_spelling_are_told_apart_only_to_the_letter() -> None:
    twins = ["Pick[box_1_1]", "Pick[box_11]"]
    assert parse_reply("Pick[box_11]", twins) == "Pick[box_11]"
    assert parse_reply("Pick[box_1_1]", twins) == "Pick[box_1_1]"
    assert parse_reply("pick[box 11]", twins) is None


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        pytest.param(
            "Thought: share.\nAgent_0_Action: Pick[mug_1]\nAgent_1_Action: Explore[kitchen_1]\nAssigned!",
            {0: "Pick[mug_1]", 1: "Explore[kitchen_1]"},
            id="as asked",
        ),
        pytest.param(
            "**Agent 1 Action:** `explore[kitchen 1]`\n- Agent_0_action: Wait",
            {0: "Wait[]", 1: "Explore[kitchen_1]"},
            id="sloppy",
        ),
        pytest.param(
            "Agent_0_Action:\nPick[mug_1]\nAgent_1_Action:\nDone[]", {0: "Pick[mug_1]", 1: "Done[]"}, id="below"
        ),
        pytest.param("Agent_0_Action: Pick[mug_1]\nAssigned!", {0: "Pick[mug_1]"}, id="one missing"),
        pytest.param("Agent_0_Action: Fly[]\nAgent_1_Action: Wait[]", {1: "Wait[]"}, id="one inadmissible"),
        pytest.param(
            "Agent_0_Action: Pick[mug_1]\nAssigned!\nAgent_1_Action: Wait[]\nAssigned!",
            {0: "Pick[mug_1]", 1: "Wait[]"},
            id="closed one by one",
        ),
        pytest.param(
            "Agent_0_Action: Pick[mug_7]\nAgent_1_Action: Wait[]\nAssigned!\nAgent_0_Action: Done[]",
            {1: "Wait[]"},
            id="a second turn made up",
        ),
        pytest.param("Agent_2_Action: Wait[]", {}, id="nobody's"),
        pytest.param("Pick[mug_1]", {}, id="unlabelled"),
    ],
)
def test_a_joint_reply_is_read(text: str, actions: dict[int, str]) -> None:
    assert parse_joint_reply(text, {0: ADMISSIBLE, 1: ADMISSIBLE}) == actions


def test_a_reply_stands_tidied_in_the_conversation() -> None:
    sloppy = "Sure!\n**Thought:** The mug\nis here.\n\n```\npick(mug 1)\n```\nAnything else?"
    assert tidy_turn(sloppy, "Pick[mug_1]") == "Thought: The mug is here.\nPick[mug_1]\nAssigned!"
    assert tidy_turn("pick mug 1", "Pick[mug_1]") == "Pick[mug_1]\nAssigned!"
    # What it thinks may name calls; only a line that is a call ends it.
    inline = "Thought: first Open[x], then pick.\nPick[mug_1]\nAssigned!"
    assert tidy_turn(inline, "Pick[mug_1]") == inline


def test_calls_know_whether_they_stand_alone() -> None:
    calls = find_calls("Let me Open[fridge_1] first.\nAction: Pick[mug_1].")
    assert [(call.text, call.alone) for call in calls] == [("Open[fridge_1]", False), ("Pick[mug_1]", True)]
