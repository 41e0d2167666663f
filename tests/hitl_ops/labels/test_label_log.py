"""Labels: added once, never changed, superseded in order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import LabelConflict, UnknownRecord
from hitl_ops.labels.label_log import play_target
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Label, SessionRow

Admit = Callable[..., SessionRow]


def say(store: LabelStore, key: str, value: dict[str, Any] | None = None, **more: Any) -> Label:
    fields: dict[str, Any] = {
        "kind": "verdict",
        "program": "planner",
        "iteration": 1,
        "annotator": "ann",
        "client_key": key,
        "value": {"good": True} if value is None else value,
        "target": "thing",
        **more,
    }
    return store.add_label(**fields)


def test_label_comes_back_as_it_was_said(store: LabelStore, admit: Admit, clock: Any) -> None:
    session = admit()
    play = store.start_play(session.id, "episode-7", 1)
    value = {"action": "Pick[mug_1]", "text": "nul \x00, half \ud800, ☕", "numbers": [1, 2.5, -0.0, 10**20, None]}
    label = say(
        store, "k1", value, kind="correction", target=None, session_id=session.id, episode_play_id=play.id,
        decision_index=4, seconds=2.5,
    )  # fmt: skip
    assert label == Label(
        id=1,
        kind="correction",
        program="planner",
        iteration=1,
        session_id=session.id,
        episode_play_id=play.id,
        decision_index=4,
        target=play_target(play.id, 4),
        value=value,
        annotator="ann",
        seconds=2.5,
        client_key="k1",
        supersedes=None,
        created_at=clock.moment,
    )
    assert store.label(1) == label
    assert store.labels("correction", episode_play_id=play.id, session_id=session.id) == [label]
    assert store.label(2) is None


def test_retry_is_harmless(store: LabelStore) -> None:
    first = say(store, "k", seconds=1.0)
    assert say(store, "k", seconds=9.0) == first
    assert store.labels(superseded=True) == [first]
    # The key is the annotator's own.
    assert say(store, "k", annotator="bob", target="other").id != first.id


def test_retry_of_a_superseded_label_does_not_bring_it_back(store: LabelStore) -> None:
    first = say(store, "k1", {"good": True})
    second = say(store, "k2", {"good": False})
    assert say(store, "k1", {"good": True}) == first
    assert store.labels() == [second]


@pytest.mark.parametrize(
    "change", [{"value": {"good": False}}, {"target": "other"}, {"kind": "progress"}, {"iteration": 2}]
)
def test_key_stands_for_one_label_only(store: LabelStore, change: dict[str, Any]) -> None:
    first = say(store, "k")
    with pytest.raises(LabelConflict) as caught:
        say(store, "k", **change)
    assert caught.value.label_id == first.id
    assert store.labels(superseded=True) == [first]


def test_later_label_takes_the_place_of_the_earlier(store: LabelStore) -> None:
    first = say(store, "1", {"good": True})
    other_kind = say(store, "2", kind="progress", value={"percent": 0.5})
    other_thing = say(store, "3", target="thing/2")
    second = say(store, "4", {"good": False}, annotator="bob")
    third = say(store, "5", {"good": True})
    assert (first.supersedes, second.supersedes, third.supersedes) == (None, first.id, second.id)
    assert store.labels() == [other_kind, other_thing, third]
    assert store.labels("verdict") == [other_thing, third]
    assert store.labels(superseded=True) == [first, other_kind, other_thing, second, third]
    assert store.labels(after_id=other_kind.id, limit=1) == [other_thing]
    assert store.labels(annotator="bob", superseded=True) == [second]
    assert store.labels(program="planner", iteration=2) == []


def test_problem_marks_its_play(store: LabelStore, admit: Admit) -> None:
    play = store.start_play(admit().id, "episode-7", 1)
    say(store, "1", kind="feedback", target=None, episode_play_id=play.id)
    seen = store.play(play.id)
    assert seen is not None and not seen.reported
    say(store, "2", kind="problem", target=None, episode_play_id=play.id)
    seen = store.play(play.id)
    assert seen is not None and seen.reported


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rumour"},
        {"program": "../planner"},
        {"iteration": -1},
        {"annotator": ""},
        {"annotator": "a" * 81},
        {"annotator": "a\nb"},
        {"key": "nul \x00"},
        {"key": "half \ud800"},
        {"target": "t" * 201},
        {"target": None},
        {"decision_index": -1},
        {"seconds": -0.1},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"value": {"x": float("nan")}},
        {"value": {"x": object()}},
        {"value": {"x": "y" * 300_000}},
        {"session_id": "../../etc"},
        {"session_id": "0123456789abcdef"},
        {"episode_play_id": "0123456789abcdef"},
    ],
)
def test_what_is_out_of_bounds_is_refused_in_one_line(store: LabelStore, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        say(store, **{"key": "k", **wrong})
    assert "\n" not in str(caught.value)
    assert store.labels(superseded=True) == []


def test_unknown_play_is_a_refusal_of_its_own(store: LabelStore) -> None:
    with pytest.raises(UnknownRecord) as caught:
        say(store, "k", episode_play_id="0123456789abcdef")
    assert caught.value.noun == "play"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE labels SET annotator = 'eve' WHERE id = 1",
        "UPDATE labels SET seconds = 0",
        "DELETE FROM labels WHERE id = 1",
        "DELETE FROM labels",
    ],
)
def test_no_statement_changes_a_label(store: LabelStore, statement: str) -> None:
    label = say(store, "k")
    with pytest.raises(DBAPIError, match="append-only"), store._transaction(writes=True) as session:
        session.execute(text(statement))
    assert store.labels(superseded=True) == [label]


def test_no_shorter_way_changes_a_label(store: LabelStore) -> None:
    label = say(store, "k", {"good": True})
    columns = "id, kind, program, iteration, target, value, annotator, seconds, client_key, created_at"
    row = "SELECT id, kind, program, iteration, target, '{}', annotator, seconds, client_key, created_at FROM labels"
    if store.is_sqlite:
        statements = [f"INSERT OR REPLACE INTO labels ({columns}) {row}", f"REPLACE INTO labels ({columns}) {row}"]
    else:
        upsert = "ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value"
        statements = [f"INSERT INTO labels ({columns}) {row} {upsert}", "TRUNCATE labels"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"), store._transaction(writes=True) as session:
            session.execute(text(statement))
    assert store.labels(superseded=True) == [label]


def test_one_label_stands_whoever_comes_first(store: LabelStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda number: say(store, f"k{number}", {"number": number}), range(48)))
    said.sort(key=lambda label: label.id)
    assert [label.supersedes for label in said] == [None, *(label.id for label in said[:-1])]
    assert store.labels() == [said[-1]]


def test_same_key_at_once_makes_one_label(store: LabelStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: say(store, "k"), range(24)))
    assert {label.id for label in said} == {said[0].id}
    assert store.labels(superseded=True) == [said[0]]


@pytest.mark.slow
def test_cursor_misses_nothing_while_many_write(store: LabelStore) -> None:
    seen: list[Label] = []
    with ThreadPoolExecutor(6) as pool:
        writers = [
            pool.submit(
                lambda name=name: [say(store, str(number), annotator=name, target=name) for number in range(25)]
            )
            for name in "abcdef"
        ]
        while not all(writer.done() for writer in writers):
            seen += store.labels(after_id=seen[-1].id if seen else 0, superseded=True)
    seen += store.labels(after_id=seen[-1].id if seen else 0, superseded=True)
    assert [label.id for label in seen] == [label.id for label in store.labels(superseded=True)]
    assert len(seen) == 150


_TEXT = st.text(st.characters(), max_size=12)  # control characters and lone surrogates included
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(_TEXT, _JSON, max_size=4))
def test_any_json_comes_back_the_same(store: LabelStore, value: dict[str, Any]) -> None:
    label = say(store, f"k{len(store.labels(superseded=True))}", value)
    assert label.value == value
    again = store.label(label.id)
    assert again is not None and again.value == value
