"""Plays of any kind, for properties that must hold whatever a person does."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.plays import Player

NAMES = st.sampled_from(
    ["mug_1", "kettle_1", "apple_1", "lamp_1", "kitchen_counter_1", "kitchen_fridge_1", "bedroom_bed_1", "bedroom_1"]
)
ACTIONS = st.one_of(
    st.builds("{}[{}]".format, st.sampled_from(["Navigate", "Pick", "Open", "Close", "Explore", "Clean"]), NAMES),
    st.builds("Place[{}, on, {}, None, None]".format, NAMES, NAMES),
    st.builds("Rearrange[{}, on, {}, None, None]".format, NAMES, NAMES),
    st.sampled_from(["Wait[]", "Done[]", "FindAgentActionTool[]", "nonsense"]),
)
HOLD = st.sampled_from([-1.0, 0.0, 0.3, 1.0])
HAPPENING = st.one_of(
    st.tuples(st.just("keys"), HOLD, HOLD, HOLD),
    st.tuples(st.just("act"), ACTIONS),
    st.tuples(st.just("decide"), ACTIONS),
    st.tuples(st.just("override"), ACTIONS),
    st.tuples(st.sampled_from(["mark", "pause", "resume"])),
)
PLAY = st.lists(st.tuples(st.integers(0, 60), HAPPENING), max_size=25)


def play(player: Player, happenings: list[tuple[int, tuple[object, ...]]]) -> None:
    """Let it all happen, each thing so many ticks after the one before."""
    for ticks, (kind, *arguments) in happenings:
        player.run(ticks)
        getattr(player, str(kind))(*arguments)
