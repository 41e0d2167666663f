"""Who has which play, and for how long."""

from __future__ import annotations

from ui_collect.annotate.claims import Claims


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_play_stays_with_its_annotator_as_long_as_there_are_signs_of_them() -> None:
    clock = Clock()
    claims = Claims(120, clock)
    assert claims.take("p", "a", "Ann").name == "Ann"
    for _ in range(5):
        clock.now += 100
        assert claims.take("p", "a", "Ann").annotator == "a"
        assert claims.take("p", "b", "Bob").name == "Ann", "asking does not take it away"
    held = claims.of("p")
    assert held is not None and held.until == clock.now + 120
    clock.now += 120
    assert claims.of("p") is None
    assert claims.take("p", "b", "Bob").name == "Bob"
    assert claims.take("p", "a", "Ann").name == "Bob"


def test_only_who_has_a_play_can_give_it_back() -> None:
    claims = Claims(120, Clock())
    claims.take("p", "a", "Ann")
    claims.give_back("p", "b")
    assert claims.of("p") is not None
    claims.give_back("p", "a")
    assert claims.of("p") is None
    claims.give_back("p", "a")


def test_what_is_over_is_forgotten() -> None:
    clock = Clock()
    claims = Claims(10, clock)
    for number in range(1000):
        claims.take(f"play {number}", "a", "Ann")
        clock.now += 1
    assert len(claims._claims) <= 12
