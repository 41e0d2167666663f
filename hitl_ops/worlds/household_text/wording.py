"""What the household says, in ALFWorld's words (arXiv 2010.03768; its grammar ``alfred.twl2``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hitl_ops.worlds.household.catalog import spoken


def said(name: str) -> str:
    """A thing or a piece of furniture as it is said: ``kitchen_counter_1`` is "kitchen counter 1"."""
    return spoken(name)


def listing(names: Iterable[str]) -> str:
    """Things in a row: "a mug 1, and a plate 2"; "nothing" where there are none. The article is always "a"."""
    things = [f"a {said(name)}" for name in names]
    if len(things) < 2:
        return things[0] if things else "nothing"
    return f"{', '.join(things[:-1])}, and {things[-1]}"


def opening(places: Iterable[str]) -> str:
    """What is seen from the middle of the room."""
    return f"You are in the middle of a room. Looking quickly around you, you see {listing(places)}."


def facing(place: str) -> str:
    """What ``look`` tells at a place."""
    return f"You are facing the {said(place)}. Next to it, you see nothing."


def on(place: str, things: Iterable[str]) -> str:
    """What stands on a place without a door."""
    return f"On the {said(place)}, you see {listing(things)}."


def inside(place: str, things: Iterable[str]) -> str:
    """What lies in a place that stands open."""
    return f"The {said(place)} is open. In it, you see {listing(things)}."


def closed(place: str) -> str:
    """A place whose door is closed."""
    return f"The {said(place)} is closed."


def light(name: str, is_on: bool) -> str:
    """A light that stands by itself."""
    return f"The {said(name)} is {'on' if is_on else 'off'}."


def carrying(held: str | None) -> str:
    """What ``inventory`` tells."""
    return "You are not carrying anything." if held is None else f"You are carrying: a {said(held)}."


def condition(name: str, states: Mapping[str, bool]) -> str:
    """What a close look at a thing tells of its states."""
    words = [word for state, word in (("is_hot", "hot"), ("is_cool", "cool")) if states.get(state)]
    if "is_clean" in states:
        words.append("clean" if states["is_clean"] else "dirty")
    if words:
        return f"This is a {' and '.join(words)} {said(name)}."
    if "is_powered_on" in states:
        return f"This {said(name)} is {'on' if states['is_powered_on'] else 'off'}."
    return f"There's nothing special about {said(name)}."
