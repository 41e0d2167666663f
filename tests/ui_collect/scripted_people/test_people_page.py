"""What a page knows, and what it remembers of what was promised."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.plays import small_episode
from tests.support.watched_play import WatchedPlay, episode_message
from ui_collect.protocol import ErrorMessage, SavedMessage, StageMessage, to_wire
from ui_collect.scripted_people.page import Page, Said, Sight


def test_a_sight_tells_by_name_what_the_frames_tell_by_number() -> None:
    play = WatchedPlay(small_episode())
    sight = Sight.of(play.page)
    assert sight.things["mug_1"].place == "kitchen_counter_1"
    assert "apple_1" not in sight.things, "it lies in the closed fridge"
    assert sight.held == {0: None, 1: None} and sight.open_furniture == frozenset()
    assert play.act("Navigate[kitchen_fridge_1]").startswith("Successful")
    assert play.act("Open[kitchen_fridge_1]").startswith("Successful")
    assert play.act("Pick[apple_1]").startswith("Successful")
    sight = Sight.of(play.page)
    assert sight.held[0] == "apple_1" and sight.things["apple_1"].holder == 0
    assert sight.open_furniture == {"kitchen_fridge_1"}


def test_reach_names_objects_and_furniture() -> None:
    play = WatchedPlay(small_episode())
    play.act("Navigate[kitchen_counter_1]")
    for _ in range(6):
        play.tick()
    assert {"mug_1", "kettle_1"} <= Sight.of(play.page).reach
    play.act("Pick[mug_1]")
    for _ in range(6):
        play.tick()
    assert "kitchen_counter_1" in Sight.of(play.page).reach


def test_the_ledger_drops_what_the_server_never_took_in() -> None:
    play = WatchedPlay(small_episode())
    page = play.page
    for seq in range(6):
        page.sent(seq, Said("act", f"Open[door_{seq}]"), shows=False)
    page.on_text(to_wire(SavedMessage(seq=2, n=7)))
    ledger = page.ledgers[0]
    assert (ledger.saved_seq, ledger.saved_n, sorted(ledger.said)) == (2, 7, [0, 1, 2, 3, 4, 5])
    page.on_text(to_wire(episode_message(play.session, next_seq=4, resumed=True)))
    assert sorted(ledger.said) == [0, 1, 2, 3]
    page.on_text(to_wire(SavedMessage(seq=1, n=5)))
    assert ledger.saved_seq == 2, "what was promised stays promised"


def test_a_new_play_has_a_ledger_of_its_own() -> None:
    play = WatchedPlay(small_episode())
    page = play.page
    page.sent(0, Said("act", "Open[a]"), shows=False)
    page.on_text(to_wire(StageMessage(stage="feedback")))
    assert page.ledgers[0].finished and not page.playing
    page.on_text(to_wire(episode_message(play.session, index=1)))
    assert page.ledgers[1].said == {} and page.ledgers[0].said


def test_nobody_acts_between_the_word_of_a_play_and_its_scenery() -> None:
    play = WatchedPlay(small_episode())
    page = play.page
    for stage in ("feedback", "episode"):
        page.on_text(to_wire(StageMessage(stage=stage)))
        assert not page.playing and not page.drawn, "the play before is still before one's eyes"
    page.on_text(to_wire(episode_message(play.session, index=1)))
    assert page.playing and not page.drawn, "no picture has come yet"


def test_latency_is_counted_to_the_frame_that_shows_the_number() -> None:
    play = WatchedPlay(small_episode())
    page = play.page
    page.sent(1, Said("control", ""), shows=True)
    page.sent(2, Said("control", ""), shows=True)
    play.tick()
    assert not page.latencies_ms
    play.act("Open[kitchen_fridge_1]")
    assert len(page.latencies_ms) == 1, "the second number has not been applied"


def test_waiting_ends_with_the_change_the_time_or_the_connection() -> None:
    async def wait() -> None:
        page = Page()
        asyncio.get_running_loop().call_later(
            0.02, page.on_text, to_wire(ErrorMessage(code="not_now", message="Not now."))
        )
        assert await page.until(lambda: page.refusals == 1, 5.0)
        assert not await page.until(lambda: page.refusals == 2, 0.02)
        asyncio.get_running_loop().call_later(0.02, page.on_closed, 1006, "")
        assert not await page.until(lambda: page.refusals == 2, 5.0)
        page.connecting()
        assert page.closed is None

    asyncio.run(wait())


def test_a_message_that_breaks_the_protocol_is_an_error() -> None:
    with pytest.raises(ValueError, match="stage"):
        Page().on_text('{"type":"stage","stage":"lunch"}')
