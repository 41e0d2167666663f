"""Keyframes: what a page draws from them is what is so in the world, however they came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plays import Player
from ui_collect.keyframes import FLOOR, FULL, HELD_BY, INCREMENT, KeyframeEncoder, Picture, pictured


class Watched:
    """A play, and every frame its page was sent, one look a tick."""

    def __init__(self) -> None:
        self.player = Player()
        self.session = self.player.session
        self.encoder = KeyframeEncoder(self.session)
        self.frames = [self.encoder.full()]
        self.picture = pictured(self.frames)
        step = self.session.step

        def step_and_look():
            ended = step()
            frame = self.encoder.increment()
            if frame is not None:
                self.frames.append(frame)
                self.picture.take(frame)
            self.is_true()
            return ended

        self.session.step = step_and_look  # type: ignore[method-assign]

    def is_true(self) -> None:
        """Agents and known objects stand in the picture as they do in the world."""
        facts, names = self.session.world.facts, self.encoder.names
        for index, body in enumerate(facts.agents):
            drawn = self.picture.agents[index]
            assert (drawn.x, drawn.z) == pytest.approx((body.x, body.z), abs=0.001)
            assert drawn.yaw == pytest.approx(body.yaw, abs=0.001)
            assert (names.objects[drawn.held] if drawn.held is not None else None) == body.held
        known = self.session.world.state.knowledge[self.session.human].objects
        assert {names.objects[index] for index in self.picture.objects} == set(known)
        for index, drawn in self.picture.objects.items():
            thing = facts.objects[names.objects[index]]
            assert drawn.relation == thing.relation
            assert drawn.clean is thing.states.get("is_clean", False)
            if thing.relation != "held":
                assert drawn.position == pytest.approx(thing.position, abs=0.001)


def test_frames_show_a_whole_play_as_it_was() -> None:
    watched = Watched()
    player, session, names = watched.player, watched.session, watched.encoder.names
    assert watched.frames[0][0] == FULL
    mug, lamp = names.objects.index("mug_1"), names.objects.index("lamp_1")
    counter = names.furniture.index("kitchen_counter_1")
    assert watched.picture.objects[mug].parent == counter
    assert watched.picture.objects[mug].can_be_clean and not watched.picture.objects[mug].clean
    assert lamp not in watched.picture.objects, "nobody has seen it yet"
    player.walk_to("kitchen_counter_1")
    assert mug in watched.picture.reach
    player.do("Pick[mug_1]")
    assert watched.picture.objects[mug].parent == HELD_BY | session.human
    player.walk_to("kitchen_fridge_1")
    fridge = names.furniture.index("kitchen_fridge_1")
    assert not watched.picture.furniture.get(fridge)
    player.do("Open[kitchen_fridge_1]")
    assert watched.picture.furniture[fridge].open
    player.run(5)
    assert FLOOR | fridge in watched.picture.reach
    player.do("Place[mug_1, on, floor_kitchen_1, None, None]")
    assert watched.picture.objects[mug].parent == FLOOR | names.rooms.index("kitchen_1")
    player.decide("Navigate[bedroom_bed_1]")
    player.run(2)
    assert watched.picture.agents[session.partner].walking and watched.picture.agents[session.partner].busy
    player.walk_to("living_room_coffee_table_1")
    assert lamp in watched.picture.objects
    state = session.world.state
    assert state.doors_mask
    assert sum(1 << index for index, is_open in watched.picture.doors.items() if is_open) == state.doors_mask
    assert {frame[0] for frame in watched.frames[1:]} == {INCREMENT}
    player.do("Pick[lamp_1]")
    assert watched.picture.percent_complete == 0.0 and not watched.picture.over


def test_progress_and_the_end_are_shown() -> None:
    watched = Watched()
    watched.player.fetch_the_mug()
    assert (watched.picture.percent_complete, watched.picture.success, watched.picture.over) == (1.0, True, False)
    watched.player.finish()
    watched.picture.take(watched.encoder.increment() or b"")
    assert watched.picture.over


@pytest.mark.parametrize("seed", range(3))
def test_a_rejoiner_sees_what_a_watcher_sees(seed: int) -> None:
    watched = Watched()
    player, luck = watched.player, random.Random(seed)
    for _ in range(12):
        player.keys(luck.choice([1.0, 0.0]), 0.0, luck.uniform(-1, 1))
        if luck.random() < 0.3:
            player.act(luck.choice(["Navigate[mug_1]", "Pick[mug_1]", "Open[kitchen_fridge_1]", "Explore[bedroom_1]"]))
        if player.session.asked_tick is not None and luck.random() < 0.5:
            player.decide(luck.choice(["Navigate[kitchen_counter_1]", "Pick[mug_1]", "Explore[bedroom_1]"]))
        player.run(luck.randint(1, 30))
    player.keys()
    player.run(5)  # what is within reach is looked at every fifth tick only, by a full frame at once
    rejoined = pictured([KeyframeEncoder(player.session).full()])
    seen = watched.picture
    assert (rejoined.agents, rejoined.objects, rejoined.reach) == (seen.agents, seen.objects, seen.reach)
    opened = {index: row for index, row in seen.furniture.items() if row.open or row.on}
    assert (rejoined.furniture, rejoined.doors) == (opened, seen.doors)
    again = watched.encoder.full()
    seen.take(again)
    assert seen == rejoined


def test_nothing_is_sent_while_nothing_changes_but_once_a_second() -> None:
    player = Player()
    encoder = KeyframeEncoder(player.session)
    encoder.full()
    frames = []
    for _ in range(90):
        player.run(1)
        frames.append(encoder.increment())
    sent = [frame for frame in frames if frame is not None]
    assert len(sent) == 3
    assert all(len(frame) == 9 for frame in sent)
    # An input that moves nothing is answered all the same: the page measures its latency by it.
    player.keys()
    frame = encoder.increment()
    assert frame is not None and pictured([encoder.full()]).seq == player.seq


def test_a_walking_play_costs_less_than_a_kilobyte_and_a_half_a_second() -> None:
    watched = Watched()
    watched.player.decide("Navigate[bedroom_bed_1]")
    watched.player.walk_to("living_room_coffee_table_1")
    seconds = watched.session.tick / 30
    assert sum(map(len, watched.frames[1:])) / seconds < 1500


@given(st.binary(max_size=60))
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    try:
        Picture().take(data)
    except ValueError:
        return
    assert data[0] in (FULL, INCREMENT)


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_a_frame_that_was_cut_off_is_refused_or_ends_between_sections(cut: int) -> None:
    frame = KeyframeEncoder(Player().session).full()
    cut %= len(frame)
    picture = Picture()
    try:
        picture.take(frame[:cut])
    except ValueError:
        return
    assert cut >= 9 and len(picture.objects) <= 4
