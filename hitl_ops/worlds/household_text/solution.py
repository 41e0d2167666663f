"""What to do next in a household game when everything is known: proves games solvable, and teaches."""

from __future__ import annotations

from hitl_ops.worlds.household.catalog import kind_of
from hitl_ops.worlds.household_text import wording
from hitl_ops.worlds.household_text.play import HomePlay, treatments_of
from hitl_ops.worlds.household_text.setup import HouseholdSetup
from hitl_ops.worlds.text_commands import TextCommand


def next_command(play: HomePlay) -> TextCommand | None:
    """The next command on a short way to the goal, from whatever state the game is in; None once it is won.

    Not always the shortest way: things are fetched one after another, the one nearest to being done first.
    """
    if play.won:
        return None
    held = play.held
    if held is None:
        return _fetch(play)
    if kind_of(held) != play.goal.thing:
        return _put_away(play, held)
    if play.goal.task.under_light:
        return _light_up(play)
    treatment = play.goal.task.treatment
    if treatment is not None and not play.is_ready(held):
        return _treat(play, held, treatment)
    place = _target(play)
    # No target has space: the hand is needed to make some.
    return _put_away(play, held) if place is None else _put(play, held, place)


def solve(setup: HouseholdSetup, max_steps: int) -> list[str] | None:
    """Commands that win a game from its beginning, in the papers' dialect; None where ``max_steps`` are not enough."""
    play = HomePlay(setup)
    commands: list[str] = []
    while (command := next_command(play)) is not None:
        if len(commands) == max_steps:
            return None
        play.perform(command)
        commands.append(str(command))
    return commands


def _targets(play: HomePlay) -> list[str]:
    """Places of the wanted kind, the one that holds most of what is wanted first."""
    places = [name for name in play.places.values() if kind_of(name) == play.goal.place]
    return sorted(places, key=lambda place: -sum(play.is_ready(name) for name in play.state.contents[place]))


def _target(play: HomePlay) -> str | None:
    return next((place for place in _targets(play) if play.has_space(place)), None)


def _go(play: HomePlay, place: str) -> TextCommand | None:
    """The way to stand at an open place; None when there."""
    if play.at != place:
        return TextCommand("go", wording.said(place))
    return None if play.is_open(place) else TextCommand("open", wording.said(place))


def _put(play: HomePlay, held: str, place: str) -> TextCommand:
    return _go(play, place) or TextCommand("put", wording.said(held), wording.said(place))


def _put_away(play: HomePlay, held: str) -> TextCommand:
    """Put down what is not wanted, here if possible, but not where the wanted things go."""
    here = [] if play.at is None else [play.at]
    for place in [*here, *sorted(play.places.values(), key=lambda name: not play.is_open(name))]:
        if kind_of(place) != play.goal.place and play.has_space(place):
            return _put(play, held, place)
    raise AssertionError("a game's home has more places than things")


def _treat(play: HomePlay, held: str, treatment: str) -> TextCommand:
    able = [name for name in play.places.values() if treatment in treatments_of(play.state.furniture[name])]
    place = play.at if play.at in able else able[0]
    assert place is not None
    if play.at != place:
        return TextCommand("go", wording.said(place))
    return TextCommand(treatment, wording.said(held), wording.said(place))  # type: ignore[arg-type]  # one of the verbs


def _light_up(play: HomePlay) -> TextCommand:
    here = [name for name in play.lights_here() if kind_of(name) == play.goal.place]
    if here:
        return TextCommand("use", wording.said(here[0]))
    standing = [name for name in play.places.values() if kind_of(name) == play.goal.place]
    lying = [thing.parent for thing in play.state.facts.objects.values() if thing.kind == play.goal.place]
    command = _go(play, [*standing, *lying][0])
    assert command is not None
    return command


def _fetch(play: HomePlay) -> TextCommand:
    done = _done(play)
    if not play.goal.task.under_light and _target(play) is None:
        return _make_space(play, done)
    things = [
        name
        for name, thing in play.state.facts.objects.items()
        if thing.kind == play.goal.thing and name not in done and thing.parent in play.places.values()
    ]
    best = min(
        things,
        key=lambda name: (not play.is_ready(name), play.state.facts.objects[name].parent != play.at, name),
    )
    return _take(play, best)


def _done(play: HomePlay) -> list[str]:
    """Things that need not be touched again."""
    if play.goal.task.under_light:
        return []
    targets = _targets(play)
    return [name for name in play.state.contents[targets[0]] if play.is_ready(name)] if targets else []


def _make_space(play: HomePlay, done: list[str]) -> TextCommand:
    place = _targets(play)[0]
    return _take(play, next(name for name in play.things_at(place) if name not in done))


def _take(play: HomePlay, name: str) -> TextCommand:
    place = play.state.facts.objects[name].parent
    return _go(play, place) or TextCommand("take", wording.said(name), wording.said(place))
