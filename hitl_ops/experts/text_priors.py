"""Where one looks for a thing first, and what heats, cools, cleans: common knowledge in words.

Used by experts that know only what they were told. A wrong guess costs steps, never the game.
"""

from __future__ import annotations

from hitl_ops.experts.text_beliefs import kind_of, same_kind
from hitl_ops.worlds.household.catalog import OBJECTS, spoken
from hitl_ops.worlds.text_tasks import Treatment

APPLIANCES: dict[Treatment, tuple[str, ...]] = {
    "clean": ("sinkbasin", "sink", "vanity", "bathtub", "bathtubbasin"),
    "heat": ("microwave", "stove"),
    "cool": ("fridge",),
}
"""What does a treatment, the likeliest first; the household says the room before: "kitchen sink"."""

_WITH_DOOR = (
    *("cabinet", "drawer", "fridge", "microwave", "safe", "box"),
    *("dishwasher", "wardrobe", "dresser", "sideboard", "chest", "washingmachine"),
)

# Kinds of things: kinds of places, as ALFWorld writes them.
_USUAL_PLACES = """
apple bread egg lettuce potato tomato winebottle: countertop fridge diningtable garbagecan microwave sinkbasin
bowl cup glassbottle kettle mug pan plate pot: countertop diningtable cabinet sinkbasin stoveburner shelf coffeemachine
saltshaker peppershaker: countertop cabinet drawer diningtable shelf
butterknife fork knife ladle spatula spoon: countertop drawer diningtable sinkbasin
cloth handtowel towel soapbar: countertop bathtubbasin sinkbasin cabinet handtowelholder towelholder
soapbottle spraybottle toiletpaper candle: countertop toilet cabinet garbagecan drawer shelf
alarmclock cd cellphone creditcard keychain pen pencil watch: desk sidetable dresser shelf drawer coffeetable
book laptop newspaper remotecontrol box: desk bed sofa armchair coffeetable sidetable diningtable dresser
statue tissuebox vase: coffeetable sidetable dresser shelf diningtable tvstand
desklamp: desk sidetable dresser shelf
floorlamp: floorlamp
pillow: bed sofa armchair
basketball baseballbat: bed armchair desk sofa
dishsponge: sinkbasin countertop cabinet drawer
houseplant: countertop shelf desk
"""
_LIKELY: dict[str, tuple[str, ...]] = {
    thing: tuple(places.split())
    for things, _, places in (row.partition(":") for row in _USUAL_PLACES.strip().splitlines())
    for thing in things.split()
}


def is_likely(thing: str, place: str) -> bool:
    """Whether a kind of thing is often found at a place: in a usual room, or on furniture it belongs to."""
    kind = thing.replace(" ", "")
    room_words = tuple(spoken(room) for room in OBJECTS[kind].homes) if kind in OBJECTS else ()
    return place.startswith(room_words) or any(same_kind(kind_of(place), likely) for likely in _LIKELY.get(kind, ()))


def may_be_closed(place: str) -> bool:
    """Whether a place probably has a door, so that looking into it takes a command more."""
    return any(word in kind_of(place).replace(" ", "") for word in _WITH_DOOR)


def does(treatment: Treatment, place: str) -> int | None:
    """How likely a place does a treatment: 0 the likeliest, None not at all."""
    kind = kind_of(place).replace(" ", "")
    return next((rank for rank, word in enumerate(APPLIANCES[treatment]) if kind.endswith(word)), None)
