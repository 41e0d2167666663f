"""Schematic pictures: drawn from given facts, true to what may be seen; no engine is needed."""

from __future__ import annotations

import numpy as np
import pytest

from hitl_ops.worlds.alfworld.config import AlfworldConfig
from hitl_ops.worlds.alfworld.engine import Fact
from hitl_ops.worlds.alfworld.schematic import LABELS_FROM, LEAST_SIZE, draw_schematic, visible_scene

ROOM: list[Fact] = [
    ("atlocation", ("agent1", "loc 1")),
    ("receptacleatlocation", ("fridge 1", "loc 1")),
    ("receptacleatlocation", ("desk 1", "loc 2")),
    ("openable", ("fridge 1",)),
    ("inreceptacle", ("apple 1", "fridge 1")),
    ("inreceptacle", ("mug 2", "desk 1")),
]
OPEN: Fact = ("opened", ("fridge 1",))


def test_what_lies_in_a_closed_receptacle_is_not_seen() -> None:
    without = [fact for fact in ROOM if fact[1][0] != "apple 1"]
    np.testing.assert_array_equal(draw_schematic(ROOM, 64), draw_schematic(without, 64))
    assert visible_scene(ROOM).things == () and visible_scene(ROOM).closed
    assert visible_scene([*ROOM, OPEN]).things == ("apple 1",)
    assert (draw_schematic([*ROOM, OPEN], 64) != draw_schematic([*without, OPEN], 64)).any()


def test_what_lies_elsewhere_is_not_seen() -> None:
    without = [fact for fact in ROOM if fact[1][0] != "mug 2"]
    np.testing.assert_array_equal(draw_schematic([*ROOM, OPEN], 64), draw_schematic([*without, OPEN], 64))


@pytest.mark.parametrize("predicate", ["ishot", "iscool", "isclean", "issliced", "istoggled"])
@pytest.mark.parametrize("size", [48, 64, 224])
def test_every_state_of_a_thing_seen_shows(predicate: str, size: int) -> None:
    plain, changed = [*ROOM, OPEN], [*ROOM, OPEN, (predicate, ("apple 1",))]
    assert (draw_schematic(plain, size) != draw_schematic(changed, size)).any()
    hidden = [*ROOM, OPEN, (predicate, ("mug 2",))]
    np.testing.assert_array_equal(draw_schematic(plain, size), draw_schematic(hidden, size))


def test_the_hand_the_place_and_its_kind_show() -> None:
    holding = [*ROOM, ("holds", ("agent1", "mug 1"))]
    elsewhere = [("atlocation", ("agent1", "loc 2")), *ROOM[1:]]
    middle = [("atlocation", ("agent1", "loc 9")), *ROOM[1:]]
    different = {draw_schematic(facts, 64).tobytes() for facts in (ROOM, [*ROOM, OPEN], holding, elsewhere, middle)}
    assert len(different) == 5
    assert visible_scene(holding).held == "mug 1" and visible_scene(middle).here == ""


def test_the_order_of_facts_does_not_matter() -> None:
    np.testing.assert_array_equal(draw_schematic([*ROOM, OPEN], 64), draw_schematic([OPEN, *ROOM[::-1]], 64))


def test_large_pictures_say_that_they_are_ours() -> None:
    big = draw_schematic(ROOM, LABELS_FROM)
    assert big.shape == (LABELS_FROM, LABELS_FROM, 3) and big.dtype == np.uint8
    floor = big[-3, 3]
    caption = big[-16:, LABELS_FROM // 3 :]
    assert (caption != floor).any()
    assert (draw_schematic(ROOM, LABELS_FROM - 1)[-16:, LABELS_FROM // 3 :] == floor).all()
    assert "not AI2-THOR" in AlfworldConfig().picture_note


@pytest.mark.parametrize("count", [0, 1, 7, 40])
@pytest.mark.parametrize("size", [LEAST_SIZE, 64])
def test_any_number_of_things_fits(count: int, size: int) -> None:
    things: list[Fact] = [("inreceptacle", (f"apple {number}", "fridge 1")) for number in range(count)]
    picture = draw_schematic([*ROOM[:4], OPEN, *things], size)
    assert picture.shape == (size, size, 3)
    with pytest.raises(ValueError, match="least"):
        draw_schematic(ROOM, LEAST_SIZE - 1)
