"""Events hold only what can be stored, read and applied."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hitl_ops.records.session_events import ACTION_LENGTH, SESSION_EVENT, DecisionEvent

PLACE = {"n": 0, "tick": 0, "wall": 1.5}
PRINTABLE = st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\u2028\u2029"), max_size=60)
UNIT = st.floats(-1, 1, allow_nan=False)
WHERE = {"n": st.integers(0, 10_000_000), "tick": st.integers(0, 1_000_000), "wall": st.floats(0, 1e11)}
SEQ = st.integers(0, 2**32 - 1)
KINDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "control": {"seq": SEQ, "forward": UNIT, "strafe": UNIT, "turn": UNIT},
    "act": {"seq": SEQ, "action": PRINTABLE},
    "decision": {
        "action": PRINTABLE,
        "reply": st.text(st.characters(blacklist_categories=("Cs",)), max_size=60),
        "policy_id": st.just("p"),
        "latency_ms": st.floats(0, 1e9),
        "stats": st.dictionaries(st.just("logprob"), st.floats(allow_nan=False)),
        "asked_tick": st.integers(0, 1_000_000),
    },
    "override": {"seq": SEQ, "action": PRINTABLE, "decision_index": st.integers(-1, 99), "by": st.just("ann")},
    "mark": {},
    "pause": {"reason": st.just("left")},
    "resume": {},
    "finish": {
        "reason": st.sampled_from(["person", "time", "idle", "skip", "aborted", "server"]),
        "success": st.booleans(),
        "percent_complete": st.floats(0, 1),
        "state_hash": st.just("0a"),
    },
}
EVENT = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.fixed_dictionaries({"kind": st.just(kind), **WHERE, **KINDS[kind]})
)


@given(fields=EVENT)
def test_every_event_survives_its_text(fields: dict[str, Any]) -> None:
    event = SESSION_EVENT.validate_python(fields)
    text = event.model_dump_json()
    assert SESSION_EVENT.validate_json(text) == event
    assert "\n" not in text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_log_probability_of_minus_infinity_survives() -> None:
    event = DecisionEvent(**PLACE, action="Wait[]", policy_id="p", asked_tick=0, stats={"logprob": -math.inf})
    assert SESSION_EVENT.validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "control", "seq": 1, "forward": 1.01},
        {"kind": "control", "seq": 1, "turn": math.nan},
        {"kind": "control", "seq": -1},
        {"kind": "control", "seq": 2**32},
        {"kind": "control"},
        {"kind": "act", "seq": 1, "action": "Pick[a]\n"},
        {"kind": "act", "seq": 1, "action": "Pick[\x00]"},
        {"kind": "act", "seq": 1, "action": "\u2028"},
        {"kind": "act", "seq": 1, "action": "\ud800"},
        {"kind": "act", "seq": 1, "action": "x" * (ACTION_LENGTH + 1)},
        {"kind": "act", "seq": 1, "action": None},
        {"kind": "act", "seq": 1, "action": "Wait[]", "more": 1},
        {"kind": "decision", "action": "Wait[]", "policy_id": "p", "asked_tick": 0, "reply": "x" * 20_001},
        {"kind": "decision", "action": "Wait[]", "policy_id": "p", "asked_tick": 0, "latency_ms": math.inf},
        {"kind": "override", "seq": 1, "action": "Wait[]", "decision_index": -2},
        {"kind": "finish", "reason": "bored", "success": True, "percent_complete": 1, "state_hash": ""},
        {"kind": "finish", "reason": "time", "success": True, "percent_complete": 1.1, "state_hash": ""},
        {"kind": "finish", "reason": "time", "success": True, "percent_complete": 1, "state_hash": "../x"},
        {"kind": "mark", "n": -1},
        {"kind": "mark", "tick": -1},
        {"kind": "mark", "wall": math.nan},
        {"kind": "jump"},
        {},
    ],
)
def test_what_is_out_of_bounds_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SESSION_EVENT.validate_python({**PLACE, **wrong})
