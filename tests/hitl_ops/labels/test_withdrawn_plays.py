"""A play that is taken back stays in the table and counts nowhere; older databases learn of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

import hitl_ops.labels.database as database
from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.database import parse_labels_url
from hitl_ops.labels.errors import PlayNotFinished, UnknownRecord
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import EpisodePlay, SessionRow
from hitl_ops.labels.schema import REVISION

MIGRATIONS = Path(database.__file__).parent / "migrations"


def _finished(store: LabelStore, session: SessionRow, episode: str = "e1") -> EpisodePlay:
    play = store.start_play(session.id, episode, 1)
    return store.finish_play(play.id, percent_complete=1.0, success=True, ended_by="person", seconds=3.0)


def test_it_counts_nowhere_and_is_still_known(store: LabelStore, admit: Callable[..., SessionRow]) -> None:
    session = admit()
    gone, stays = _finished(store, session), _finished(store, session)
    taken_back = store.withdraw_play(gone.id, "asked for it", "ann")
    assert (taken_back.withdrawn_by, taken_back.withdrawn_reason) == ("ann", "asked for it")
    assert taken_back.withdrawn_at == store.now()
    assert [play.id for play in store.finished_plays("planner", 1)] == [stays.id]
    assert store.finished_plays("planner", 1, withdrawn=True) == [taken_back]
    assert store.finished_play_counts("planner") == {1: 1}
    assert store.episode_play_counts("planner", 1) == {"e1": 1}
    (figures,) = store.overview().iterations
    assert (figures.plays_finished, figures.plays_successful, figures.episodes_finished) == (1, 1, 1)
    assert store.play(gone.id) == taken_back
    assert {play.id for play in store.session_plays(session.id)} == {gone.id, stays.id}


def test_the_first_word_stands_until_it_counts_again(
    store: LabelStore, admit: Callable[..., SessionRow], clock: Callable[[], object]
) -> None:
    play = _finished(store, admit())
    first = store.withdraw_play(play.id, "asked for it", "ann")
    clock.forward(hours=1)  # type: ignore[attr-defined]
    assert store.withdraw_play(play.id, "again", "bob") == first
    assert store.restore_play(play.id) == play
    assert store.restore_play(play.id) == play
    assert store.finished_plays("planner", 1) == [play]
    assert store.withdraw_play(play.id, "", "bob").withdrawn_by == "bob"


def test_what_cannot_be_taken_back_is_told(store: LabelStore, admit: Callable[..., SessionRow]) -> None:
    open_play = store.start_play(admit().id, "e1", 1)
    with pytest.raises(PlayNotFinished, match="is not finished"):
        store.withdraw_play(open_play.id, "", "ann")
    for call in (lambda: store.withdraw_play("0" * 16, "", "ann"), lambda: store.restore_play("p1")):
        with pytest.raises(UnknownRecord, match="there is no play"):
            call()
    for reason, by in (("x" * 201, "ann"), ("a\nb", "ann"), ("", ""), ("", "x" * 81)):
        with pytest.raises(UserError):
            store.withdraw_play(open_play.id, reason, by)
    assert store.play(open_play.id) == open_play


def test_a_database_from_before_keeps_all_it_holds(labels_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(parse_labels_url(labels_url))
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(parents=True)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for statement in (
            "INSERT INTO invitations (id, token_hash, program, iteration, max_uses, uses, created_at, revoked)"
            " VALUES ('i1', 'h', 'planner', 1, 1, 1, '2026-03-01 12:00:00', FALSE)",
            "INSERT INTO participants (id, invitation_id, display_name, created_at)"
            " VALUES ('p1', 'i1', 'ann', '2026-03-01 12:00:00')",
            "INSERT INTO sessions (id, token_hash, participant_id, program, iteration, stage, created_at, last_seen_at,"
            " end_reason, seconds_active) VALUES ('s1', 'h', 'p1', 'planner', 1, 'lobby', '2026-03-01 12:00:00',"
            " '2026-03-01 12:00:00', '', 0)",
            "INSERT INTO episode_plays (id, session_id, episode_id, attempt, tutorial, started_at, finished_at,"
            " finish_id, percent_complete, success, ended_by, seconds, record_file, state_hash, reported)"
            " VALUES ('0123456789abcdef', 's1', 'e1', 1, FALSE, '2026-03-01 12:00:00', '2026-03-01 12:01:00', 1, 1.0,"
            " TRUE, 'person', 60, '', '', FALSE)",
            "INSERT INTO labels (kind, program, iteration, episode_play_id, target, value, annotator, seconds,"
            " client_key, created_at) VALUES ('problem', 'planner', 1, '0123456789abcdef', 'play/0123456789abcdef',"
            " '{}', 'ann', 0, 'k', '2026-03-01 12:02:00')",
        ):
            connection.execute(text(statement))
    engine.dispose()
    store = LabelStore.open(labels_url)
    assert store.revision() == REVISION
    (play,) = store.finished_plays("planner", 1)
    assert (play.id, play.withdrawn_at, play.withdrawn_by, play.withdrawn_reason) == (
        "0123456789abcdef", None, None, None,
    )  # fmt: skip
    assert [label.client_key for label in store.labels()] == ["k"]
    store.withdraw_play(play.id, "asked for it", "ann")
    assert store.finished_plays("planner", 1) == []
    store.close()
