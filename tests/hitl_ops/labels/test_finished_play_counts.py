"""How far each iteration's collection is, as the loop asks every few moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import SessionRow


def _play(store: LabelStore, session: SessionRow, *, finished: bool = True, tutorial: bool = False) -> None:
    play = store.start_play(session.id, "episode-1", 1, tutorial=tutorial)
    if finished:
        store.finish_play(play.id, percent_complete=0.5, success=False, ended_by="skip", seconds=3.0)


def test_counts_what_has_finished_by_iteration(store: LabelStore, admit: Callable[..., SessionRow]) -> None:
    assert store.finished_play_counts("planner") == {}
    first, second, later, other = admit(), admit(), admit(iteration=12), admit(program="station")
    for session in (first, first, second, later, other):
        _play(store, session)
    _play(store, first, tutorial=True)
    _play(store, second, finished=False)
    assert store.finished_play_counts("planner") == {1: 3, 12: 1}
    assert store.finished_play_counts("station") == {1: 1}
    assert store.finished_play_counts("planner")[1] == len(store.finished_plays("planner", 1))


def test_knows_its_programs(store: LabelStore) -> None:
    with pytest.raises(UserError, match="program 'planer' is unknown"):
        store.finished_play_counts("planer")
