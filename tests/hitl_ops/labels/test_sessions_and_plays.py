"""A person's sitting from consent to thanks, and what the loop sees of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.errors import PlayStillOpen, SessionEnded, UnknownRecord
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import EpisodePlay, SessionRow

Admit = Callable[..., SessionRow]
NOBODY = "0123456789abcdef"


def finish(store: LabelStore, play: EpisodePlay, success: bool = True, **more: Any) -> EpisodePlay:
    fields: dict[str, Any] = {
        "percent_complete": 1.0 if success else 0.5,
        "success": success,
        "ended_by": "person",
        "seconds": 40.0,
        **more,
    }
    return store.finish_play(play.id, **fields)


def test_token_opens_its_session_and_no_other(store: LabelStore) -> None:
    _, token = store.create_invitation("planner", 0, max_uses=2)
    first, second = store.use_invitation(token), store.use_invitation(token)
    assert store.session_by_token(first.token) == first.session
    assert store.session_by_token(second.token) == second.session
    for odd in ("", token, first.session.id, first.token[:-1], "\x00", "\ud800", "x" * 100_000):
        assert store.session_by_token(odd) is None
    assert store.session(first.session.id) == first.session
    for odd in ("", NOBODY, "../x", "\x00"):
        assert store.session(odd) is None


def test_consent_and_tutorial_are_kept_once(store: LabelStore, admit: Admit, clock: Any) -> None:
    person = store.participant(admit().participant_id)
    assert (person.consented_at, person.tutorial_done_at) == (None, None)
    agreed = clock.forward(seconds=5)
    store.record_consent(person.id)
    learned = clock.forward(seconds=5)
    store.tutorial_done(person.id)
    clock.forward(seconds=5)
    store.record_consent(person.id)
    person = store.tutorial_done(person.id)
    assert (person.consented_at, person.tutorial_done_at) == (agreed, learned)
    assert store.participant(person.id) == person
    for call in (store.participant, store.record_consent, store.tutorial_done):
        with pytest.raises(UnknownRecord):
            call(NOBODY)


@pytest.mark.slow
def test_stages_follow_until_the_end(store: LabelStore, admit: Admit, clock: Any) -> None:
    session = admit()
    for stage in ("tutorial", "lobby", "episode", "feedback", "episode", "thanks"):
        assert store.set_stage(session.id, stage).stage == stage  # type: ignore[arg-type]
    for wrong in ("ended", "nowhere", ""):
        with pytest.raises(UserError):
            store.set_stage(session.id, wrong)  # type: ignore[arg-type]
    ended = clock.forward(minutes=1)
    first = store.end_session(session.id, "done", active_seconds=3.0)
    clock.forward(minutes=1)
    assert (first.stage, first.ended_at, first.end_reason, first.seconds_active) == ("ended", ended, "done", 3.0)
    assert store.end_session(session.id, "idle", active_seconds=3.0) == first
    assert store.pause_session(session.id, active_seconds=3.0) == first
    for call in (lambda: store.set_stage(session.id, "lobby"), lambda: store.touch_session(session.id)):
        with pytest.raises(SessionEnded):
            call()
    with pytest.raises(SessionEnded):
        store.start_play(session.id, "episode", 1)
    assert store.session(session.id) == first
    assert store.open_sessions() == []
    with pytest.raises(UserError):
        store.end_session(session.id, "Not a word!")


def test_who_is_away_too_long_is_stale(store: LabelStore, admit: Admit, clock: Any) -> None:
    gone, paused, here, ended = (admit() for _ in range(4))
    ten = timedelta(minutes=10)
    clock.forward(minutes=4)
    store.pause_session(paused.id, active_seconds=1.5)
    store.end_session(ended.id, "done")
    clock.forward(minutes=5)
    store.pause_session(paused.id)  # again: the first moment counts
    store.touch_session(here.id)
    assert store.stale_sessions(ten) == []
    clock.forward(minutes=1)
    assert [row.id for row in store.stale_sessions(ten)] == [gone.id]
    clock.forward(minutes=4)
    assert [row.id for row in store.stale_sessions(ten)] == [gone.id, paused.id]
    back = store.touch_session(paused.id, active_seconds=2.0)
    assert (back.paused_at, back.last_seen_at, back.seconds_active) == (None, clock.moment, 3.5)
    assert [row.id for row in store.stale_sessions(ten)] == [gone.id]
    assert {row.id for row in store.open_sessions()} == {gone.id, paused.id, here.id}


def test_seconds_add_up_from_many_threads(store: LabelStore, admit: Admit) -> None:
    session = admit()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.touch_session(session.id, active_seconds=0.25), range(40)))
    seen = store.session(session.id)
    assert seen is not None and seen.seconds_active == 10.0
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError):
            store.touch_session(session.id, active_seconds=wrong)


def test_play_from_start_to_record(store: LabelStore, admit: Admit, clock: Any) -> None:
    session = admit()
    play = store.start_play(session.id, "episode-7", 2)
    assert (play.started_at, play.finished_at, play.finish_id, play.success) == (clock.moment, None, None, None)
    assert store.open_plays() == [play]
    end = clock.forward(seconds=70)
    done = finish(store, play, record_file=f"{session.id}/{play.id}.log.jsonl.gz", state_hash="abc123")
    assert (done.finished_at, done.finish_id, done.percent_complete, done.success) == (end, 1, 1.0, True)
    assert (done.ended_by, done.seconds, done.state_hash) == ("person", 40.0, "abc123")
    assert done.record_file == f"{session.id}/{play.id}.log.jsonl.gz"
    clock.forward(seconds=5)
    assert finish(store, play, success=False, ended_by="aborted") == done, "the first outcome stands"
    assert store.play(play.id) == done
    assert store.open_plays() == []
    assert store.session_plays(session.id) == [done]
    assert store.play(NOBODY) is None
    assert store.session_plays(NOBODY) == store.session_plays("../x") == []


def test_one_play_at_a_time(store: LabelStore, admit: Admit) -> None:
    session, other = admit(), admit()
    with ThreadPoolExecutor(6) as pool:

        def start(_: int) -> EpisodePlay | PlayStillOpen:
            try:
                return store.start_play(session.id, "episode-7", 1)
            except PlayStillOpen as refused:
                return refused

        answers = list(pool.map(start, range(6)))
    started = [answer for answer in answers if isinstance(answer, EpisodePlay)]
    assert len(started) == 1
    assert {answer.play_id for answer in answers if isinstance(answer, PlayStillOpen)} == {started[0].id}
    store.start_play(other.id, "episode-7", 1)
    finish(store, started[0])
    assert store.start_play(session.id, "episode-7", 2).attempt == 2


def test_plays_a_kill_left_open_are_found(store: LabelStore, admit: Admit) -> None:
    running, ended = admit(), admit()
    first, second = store.start_play(running.id, "a", 1), store.start_play(ended.id, "b", 1)
    store.end_session(ended.id, "aborted")
    assert {play.id for play in store.open_plays()} == {first.id, second.id}
    assert [play.id for play in store.open_plays(of_ended_sessions=True)] == [second.id]
    assert [play.id for play in store.open_plays(of_ended_sessions=False)] == [first.id]


def test_cursor_follows_the_order_of_finishing(store: LabelStore, admit: Admit) -> None:
    sessions = [admit() for _ in range(3)]
    elsewhere = admit(iteration=2)
    plays = [store.start_play(session.id, f"e{number}", 1) for number, session in enumerate(sessions)]
    finish(store, plays[2])
    finish(store, store.start_play(elsewhere.id, "e9", 1))
    seen = store.finished_plays("planner", 1)
    assert [play.episode_id for play in seen] == ["e2"]
    # Started earlier, finished later: comes after what was seen.
    finish(store, plays[0], success=False)
    finish(store, store.start_play(sessions[0].id, "tutorial", 1, tutorial=True))
    finish(store, plays[1])
    assert [play.episode_id for play in store.finished_plays("planner", 1, after_id=seen[-1].finish_id or 0)] == [
        "e0",
        "e1",
    ]
    assert [play.episode_id for play in store.finished_plays("planner", 2)] == ["e9"]
    assert store.finished_plays("dagger", 1) == []
    store.start_play(sessions[1].id, "e0", 1)
    assert store.episode_play_counts("planner", 1) == {"e0": 2, "e1": 1, "e2": 1}
    with pytest.raises(UserError):
        store.finished_plays("../planner", 1)


@pytest.mark.slow
def test_cursor_misses_no_play_while_many_finish(store: LabelStore, admit: Admit) -> None:
    sessions = [admit() for _ in range(6)]

    def play(session: SessionRow) -> None:
        for attempt in range(1, 11):
            finish(store, store.start_play(session.id, "e", attempt))

    seen: list[int] = []
    with ThreadPoolExecutor(6) as pool:
        players = [pool.submit(play, session) for session in sessions]
        while not all(player.done() for player in players):
            seen += [row.finish_id or 0 for row in store.finished_plays("planner", 1, seen[-1] if seen else 0)]
        for player in players:
            player.result()
    seen += [row.finish_id or 0 for row in store.finished_plays("planner", 1, seen[-1] if seen else 0)]
    assert seen == list(range(1, 61))


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent_complete": 1.1},
        {"percent_complete": float("nan")},
        {"seconds": -1.0},
        {"ended_by": "a person"},
        {"record_file": "../outside.gz"},
        {"record_file": "/absolute.gz"},
        {"record_file": "a/../../b.gz"},
        {"record_file": "a//b"},
        {"record_file": "new\nline"},
        {"state_hash": "x" * 129},
    ],
)
def test_outcome_out_of_bounds_leaves_the_play_open(store: LabelStore, admit: Admit, wrong: dict[str, Any]) -> None:
    play = store.start_play(admit().id, "e", 1)
    with pytest.raises(UserError):
        finish(store, play, **wrong)
    assert store.play(play.id) == play


def test_plays_of_nobody_are_refused(store: LabelStore, admit: Admit) -> None:
    session = admit()
    with pytest.raises(UnknownRecord):
        store.start_play(NOBODY, "e", 1)
    with pytest.raises(UnknownRecord):
        store.finish_play(NOBODY, percent_complete=1, success=True, ended_by="person", seconds=1)
    for episode_id, attempt in (("", 1), ("e\x00", 1), ("e" * 129, 1), ("e", 0)):
        with pytest.raises(UserError):
            store.start_play(session.id, episode_id, attempt)
    assert store.session_plays(session.id) == []


def test_overview_counts_what_there_is(store: LabelStore, admit: Admit, clock: Any) -> None:
    empty = store.overview()
    assert (empty.iterations, empty.invitations, empty.participants, empty.sessions_by_stage) == ([], 0, 0, {})
    first, second, third = admit(), admit(), admit(iteration=2)
    store.touch_session(first.id, active_seconds=30.0)
    store.touch_session(second.id, active_seconds=12.5)
    store.set_stage(first.id, "episode")
    store.pause_session(second.id)
    store.end_session(third.id, "done", active_seconds=4.0)
    finish(store, store.start_play(first.id, "tutorial", 1, tutorial=True))
    finish(store, store.start_play(first.id, "e1", 1), success=False)
    last = finish(store, store.start_play(first.id, "e1", 2))
    finish(store, store.start_play(second.id, "e2", 1), success=False)
    store.start_play(first.id, "e3", 1)
    for key, kind in (("1", "feedback"), ("2", "feedback"), ("3", "problem"), ("4", "correction")):
        store.add_label(
            kind,  # type: ignore[arg-type]
            program="planner", iteration=1, annotator="ann", client_key=key, value={}, seconds=2.0,
            session_id=first.id, episode_play_id=last.id,
        )  # fmt: skip
    overview = store.overview()
    assert (overview.taken_at, overview.invitations, overview.participants) == (clock.moment, 3, 3)
    assert overview.sessions_by_stage == {"consent": 1, "episode": 1, "ended": 1}
    one, two = overview.iterations
    assert one.model_dump() == {
        "program": "planner",
        "iteration": 1,
        "sessions_by_stage": {"consent": 1, "episode": 1},
        "sessions_paused": 1,
        "plays_open": 1,
        "plays_finished": 3,
        "plays_successful": 1,
        "plays_reported": 1,
        "episodes_finished": 2,
        "episodes_successful": 1,
        "human_seconds": 42.5,
        "label_seconds": 8.0,
        "labels_by_kind": {"feedback": 1, "problem": 1, "correction": 1},
    }
    assert one.success_rate == pytest.approx(1 / 3)
    assert (two.program, two.iteration, two.human_seconds, two.success_rate) == ("planner", 2, 4.0, None)
