"""Messages from the page: what is taken, what is refused, and what text may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ui_collect.protocol import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    Act,
    Feedback,
    PlayResult,
    StageMessage,
    Totals,
    to_wire,
)

TOKEN = "A" * 43
VALID: list[dict[str, Any]] = [
    {"type": "hello", "token": TOKEN, "protocol": 1},
    {"type": "consent"},
    {"type": "tutorial_done"},
    {"type": "ready"},
    {"type": "ready", "again": True},
    {"type": "input", "seq": 0, "forward": 1, "strafe": -0.5, "turn": 0},
    {"type": "act", "seq": 2, "tool": "Pick", "args": ["mug_1"]},
    {"type": "act", "seq": 3, "tool": "Place", "args": ["mug_1", "on", "table_2", "None", "None"]},
    {"type": "act", "seq": 3, "tool": "Done", "args": []},
    {"type": "override", "seq": 4, "decision": 4, "tool": "Navigate", "args": ["living room/den_1"]},
    {"type": "skip", "seq": 5},
    {"type": "finish", "seq": 6},
    {"type": "feedback", "key": "f-3b1c9a20", "success": None, "missing": "Où est la tasse ?", "problem": ""},
    {"type": "end"},
    {"type": "ping", "t": 12.5},
]


def parse(message: dict[str, Any]) -> Any:
    return CLIENT_MESSAGES.validate_json(json.dumps(message), strict=True)


@pytest.mark.parametrize("message", VALID, ids=lambda message: message["type"])
def test_what_a_page_says_is_taken(message: dict[str, Any]) -> None:
    said = parse(message)
    assert said.type == message["type"]
    assert {name: said.model_dump()[name] for name in message} == message


@pytest.mark.parametrize("message", VALID, ids=lambda message: message["type"])
def test_an_unknown_key_is_refused_in_every_message(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        parse({**message, "path": "../../etc/passwd"})


@pytest.mark.parametrize(
    "message",
    [
        {"type": "input", "seq": 1, "forward": 1.01, "strafe": 0, "turn": 0},
        {"type": "input", "seq": 1, "forward": "1", "strafe": 0, "turn": 0},
        {"type": "input", "seq": -1, "forward": 0, "strafe": 0, "turn": 0},
        {"type": "input", "seq": 2**31, "forward": 0, "strafe": 0, "turn": 0},
        {"type": "input", "seq": 1.5, "forward": 0, "strafe": 0, "turn": 0},
        {"type": "input", "seq": 1, "forward": float("nan"), "strafe": 0, "turn": 0},
        {"type": "input", "seq": 1, "forward": float("inf"), "strafe": 0, "turn": 0},
        {"type": "act", "seq": 1, "tool": "Pick", "args": ["a"] * 6},
        {"type": "act", "seq": 1, "tool": "Pick", "args": ["a" * 65]},
        {"type": "act", "seq": 1, "tool": "Pick", "args": [""]},
        {"type": "act", "seq": 1, "tool": "Pick]", "args": []},
        {"type": "act", "seq": 1, "tool": "", "args": []},
        {"type": "override", "seq": 1, "decision": -1, "tool": "Pick", "args": []},
        {"type": "feedback", "key": "short", "success": True},
        {"type": "feedback", "key": "../../../x", "success": True},
        {"type": "feedback", "key": "long-enough", "missing": "x" * 2001},
        {"type": "feedback", "key": "long-enough", "success": "yes"},
        {"type": "hello", "token": "short", "protocol": 1},
        {"type": "hello", "token": "../" * 20, "protocol": 1},
        {"type": "ping", "t": 1e300},
        {"type": "shout"},
        {},
    ],
    ids=repr,
)
def test_what_is_out_of_bounds_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse(message)


@pytest.mark.parametrize(
    "bad", ["a\x00b", "a\nb", "a\x1b[31m", "a\x7f", "a\x85b", "a\u202eb", "a\u200bb", "a[b", "a]b", "a,b"]
)
def test_an_argument_is_one_visible_word_of_an_action(bad: str) -> None:
    with pytest.raises(ValidationError):
        Act(seq=1, tool="Pick", args=[bad])


@given(st.text(max_size=200))
def test_free_text_keeps_what_can_be_read_and_nothing_else(text: str) -> None:
    said = Feedback(key="f-3b1c9a20", missing=text).missing
    assert not any(ord(character) < 32 and character not in "\n\t" for character in said)
    assert not set(said) & set("\u202e\u2066\x7f\x9b")
    assert len(said) <= len(text)
    if text.isascii() and text.isprintable():
        assert said == text.strip()


def test_line_breaks_in_free_text_stay() -> None:
    assert Feedback(key="f-3b1c9a20", missing=" one\r\ntwo\rthree\x00 ").missing == "one\ntwo\nthree"


def test_what_the_server_says_can_be_read_back_and_leaves_out_what_is_null() -> None:
    result = PlayResult(
        episode_number=1,
        instruction="Bring the mug.",
        success=False,
        percent_complete=0.5,
        missing=["the mug is not on the desk"],
        ended_by="skip",
        attempt=1,
        attempts_left=2,
    )
    for message in (
        StageMessage(stage="lobby", position=2),
        StageMessage(stage="feedback", result=result),
        StageMessage(stage="thanks", totals=Totals(episodes=3, successes=2, minutes=14.5)),
    ):
        text = to_wire(message)
        assert "null" not in text
        assert SERVER_MESSAGES.validate_json(text) == message
