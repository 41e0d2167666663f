"""Places and the queue before them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ui_collect.lobby import Lobby


def test_first_come_first_served() -> None:
    lobby = Lobby(2)
    assert lobby.enter("a") is None
    assert lobby.enter("b") is None
    assert lobby.enter("c") == 1
    assert lobby.enter("d") == 2
    assert lobby.enter("c") == 1, "asking again changes nothing"
    assert (lobby.free, lobby.taken, lobby.waiting) == (0, 2, 2)
    assert lobby.leave("a") == ["c"]
    assert lobby.has_place("c")
    assert lobby.queue() == ["d"]
    assert lobby.leave("d") == []
    assert lobby.leave("nobody") == []


def test_a_place_that_falls_free_goes_to_the_queue_and_not_to_a_newcomer() -> None:
    lobby = Lobby(1)
    lobby.enter("a")
    lobby.enter("b")
    lobby.leave("a")
    assert lobby.enter("c") == 1
    assert lobby.has_place("b")


def test_after_a_restart_people_keep_their_places_even_if_there_are_fewer() -> None:
    lobby = Lobby(1)
    lobby.keep("a")
    lobby.keep("b")
    assert lobby.enter("c") == 1
    assert lobby.free == 0
    assert lobby.leave("a") == []
    assert lobby.leave("b") == ["c"]


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave"]), st.integers(0, 9)), max_size=80), st.integers(1, 4))
def test_never_more_places_than_there_are_and_never_an_idle_one_before_a_queue(
    steps: list[tuple[str, int]], capacity: int
) -> None:
    lobby = Lobby(capacity)
    inside: set[str] = set()
    for what, number in steps:
        name = str(number)
        if what == "enter":
            lobby.enter(name)
            inside.add(name)
        else:
            lobby.leave(name)
            inside.discard(name)
        assert lobby.taken <= capacity
        assert lobby.taken == capacity or lobby.waiting == 0
        assert {name for name in inside if not lobby.has_place(name)} == set(lobby.queue())
        assert lobby.taken + lobby.waiting == len(inside)
