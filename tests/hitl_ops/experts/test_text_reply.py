"""Answers of language models in text games: what is forgiven, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.experts.text_reply import TextReply, parse_text_reply

ADMISSIBLE = (
    "close fridge 1",
    "cool mug 1 with fridge 1",
    "examine fridge 1",
    "go to cabinet 1",
    "go to cabinet 2",
    "go to kitchen counter 1",
    "go to sink basin 1",
    "inventory",
    "look",
    "put mug 1 in/on fridge 1",
    "take apple 1 from fridge 1",
    "take mug 2 from fridge 1",
    "use desklamp 1",
)


def read(text: str) -> str | None:
    return parse_text_reply(text, ADMISSIBLE).command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("go to cabinet 1", "go to cabinet 1"),
        ("> go to cabinet 1", "go to cabinet 1"),
        ("\n\n> Go to the cabinet 1.", "go to cabinet 1"),
        ("```\ngo to cabinet 2\n```", "go to cabinet 2"),
        ("**Action:** `go to cabinet 2`", "go to cabinet 2"),
        ("1. go to cabinet 1\n2. go to cabinet 2", "go to cabinet 1"),
        ("go to cabinet 1\nOn the cabinet 1, you see nothing.\n> go to cabinet 2", "go to cabinet 1"),
        ("I think we should look further.\n\nAction: go to cabinet 2", "go to cabinet 2"),
        ("Sure! Here's the action:\ngo to cabinet 2", "go to cabinet 2"),
        ("The best option would be to go to cabinet 2 because it is near.", "go to cabinet 2"),
        ("I would not go to cabinet 1, but go to cabinet 2.", "go to cabinet 2"),
        ("<think>go to cabinet 1</think>go to cabinet 2", "go to cabinet 2"),
        ("go to kitchencounter 1", "go to kitchen counter 1"),
        ("go to kitchen conter 1", "go to kitchen counter 1"),
        ("go to sinkbasin 1", "go to sink basin 1"),
        ("take mug", "take mug 2 from fridge 1"),
        ("pick up the apple 1", "take apple 1 from fridge 1"),
        ("take the apple out of the fridge", "take apple 1 from fridge 1"),
        ("Place mug 1 into the fridge", "put mug 1 in/on fridge 1"),
        ("move mug 1 to fridge 1", "put mug 1 in/on fridge 1"),
        ("put mug 1 in fridge 1", "put mug 1 in/on fridge 1"),
        ("chill mug 1 in fridge 1", "cool mug 1 with fridge 1"),
        ("turn on the desklamp", "use desklamp 1"),
        ("LOOK", "look"),
    ],
)
def test_is_read(text: str, command: str) -> None:
    assert read(text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\n",
        ">",
        "'tank' refers to the toilet tank, so",
        "go to cabinet",  # two of them
        "go to cabinet 3",
        "go to cabinet 7\ngo to cabinet 1",  # what follows would be done from elsewhere
        "go to cabinet 1 or go to cabinet 2, hmm",
        "put cup 1 in/on fridge 1",
        "take mug 1 from fridge 1",
        "I would not go to cabinet 1.",
        "Nothing happens.",
    ],
)
def test_is_no_answer(text: str) -> None:
    assert read(text) is None


def test_thought_is_kept_apart() -> None:
    reply = parse_text_reply("think: I need  the mug.\n> take mug 2 from fridge 1\nthink: next", ADMISSIBLE)
    assert reply == TextReply("take mug 2 from fridge 1", "I need the mug.")
    assert parse_text_reply("Thought: go to cabinet 1", ADMISSIBLE) == TextReply(None, "go to cabinet 1")


@given(st.text(max_size=300))
def test_whatever_comes_is_admissible_or_nothing(text: str) -> None:
    assert read(text) in (None, *ADMISSIBLE)


@given(
    command=st.sampled_from(ADMISSIBLE),
    before=st.sampled_from(["", "> ", "Action: ", "- ", "`", "  "]),
    after=st.sampled_from(["", ".", "\n", "\nYou arrive.\n> look", "`", " "]),
    upper=st.booleans(),
)
def test_every_command_is_read_in_any_wrapping(command: str, before: str, after: str, upper: bool) -> None:
    assert read(f"{before}{command.upper() if upper else command}{after}") == command
