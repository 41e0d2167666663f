"""A hand-coded expert for household text games that knows no more than the agent was told.

It looks where things of the wanted kind usually are, then everywhere else, so that a student who reads the same
words can see why each command was chosen. It goes on from any state: every answer is computed from what has been
told so far, whoever acted.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Literal

from hitl_ops.contracts.text_game import GameHistory, TextGame, TextTurn, TextWorld
from hitl_ops.experts.text_beliefs import TextBeliefs, kind_of, same_kind
from hitl_ops.experts.text_priors import does, is_likely, may_be_closed
from hitl_ops.worlds.text_commands import TextCommand, parse_command
from hitl_ops.worlds.text_tasks import TextTask, Treatment, parse_task

SearchOrder = Literal["shuffled", "told"]


class SearcherExpert:
    """Partial information, both text worlds, all six families; implements ``contracts.text_game.TextExpert``.

    Args:
        seed: decides in which order equally likely places are searched, where that is shuffled.
        order: shuffled, or told: as the opening names them, so that a student can tell which one comes next.
    """

    policy_id = "text-searcher"

    def __init__(self, seed: int = 0, order: SearchOrder = "shuffled") -> None:
        self._seed, self._told = seed, order == "told"
        self._task = TextTask("", "", "")
        self._beliefs = TextBeliefs(())
        self._order: dict[str, int] = {}
        self._full: set[str] = set()
        self._useless: set[tuple[Treatment, str]] = set()

    def start(self, game: TextGame, world: TextWorld, turn: TextTurn) -> None:
        """See ``TextExpert.start``; reads the opening only.

        Raises:
            UserError: the opening's task is of no known form.
        """
        self._task = parse_task(turn.text)
        self._beliefs = TextBeliefs.from_opening(turn.text)
        places = list(self._beliefs.places)
        if not self._told:
            random.Random(f"{self._seed}/{game.seed}").shuffle(places)
        self._order = {place: number for number, place in enumerate(places)}
        self._full = set()
        self._useless = set()

    def executed(self, command: str, turn: TextTurn) -> None:
        """See ``TextExpert.executed``."""
        parsed = parse_command(command)
        self._beliefs.read(parsed, turn.text)
        if parsed is not None and parsed.verb == "take":
            self._full.discard(parsed.place)
        self._notice(turn)

    def _notice(self, turn: TextTurn) -> None:
        """What the commands offered here tell beyond the words: no space, or nothing to treat with."""
        here, held = self._beliefs.at, self._beliefs.held
        if here is None:
            return
        if self._beliefs.closed.get(here, False) and str(TextCommand("open", here)) not in turn.admissible:
            self._beliefs.holds_nothing(here)  # its door cannot be opened
        if held is None:
            return
        if not self._beliefs.closed.get(here, False):
            has_space = str(TextCommand("put", held, here)) in turn.admissible
            (self._full.discard if has_space else self._full.add)(here)
        treatment = self._task.treatment
        lacking = self._is_wanted(held) and self._lacks_treatment(held)
        if treatment is not None and lacking and does(treatment, here) is not None:
            works = str(TextCommand(treatment, held, here)) in turn.admissible
            if not works and not self._beliefs.closed.get(here, False):
                self._useless.add((treatment, here))

    def label(self, history: GameHistory | None, turn: TextTurn) -> str | None:
        """See ``TextExpert.label``; None once the game is over."""
        if turn.over:
            return None
        allowed = set(turn.admissible)
        return next((said for command in self._wishes() if (said := str(command)) in allowed), "look")

    # --- what to do, the best first -----------------------------------------------------------------------

    def _wishes(self) -> Iterator[TextCommand]:
        held = self._beliefs.held
        if held is None:
            yield from self._fetch()
        elif not self._is_wanted(held):
            yield from self._put_away(held)
        elif self._task.under_light:
            yield from self._light_up()
        elif self._lacks_treatment(held):
            yield from self._treat(held)
        else:
            yield from self._deliver(held)
        yield from self._search("")

    def _is_wanted(self, thing: str) -> bool:
        return same_kind(kind_of(thing), self._task.thing)

    def _lacks_treatment(self, thing: str) -> bool:
        treatment = self._task.treatment
        return treatment is not None and treatment not in self._beliefs.treated.get(thing, ())

    def _targets(self) -> list[str]:
        """Places of the wanted kind, the one with most of what is wanted first."""
        places = [place for place in self._beliefs.places if same_kind(kind_of(place), self._task.place)]
        return sorted(places, key=lambda place: -len(self._done(place)))

    def _done(self, place: str) -> list[str]:
        things = self._beliefs.seen.get(place, [])
        return [thing for thing in things if self._is_wanted(thing) and not self._lacks_treatment(thing)]

    def _reach(self, place: str) -> Iterator[TextCommand]:
        """Stand at a place with its door open; nothing to do when so."""
        if self._beliefs.at != place:
            yield TextCommand("go", place)
        elif self._beliefs.closed.get(place, False):
            yield TextCommand("open", place)

    # --- with empty hands ---------------------------------------------------------------------------------

    def _fetch(self) -> Iterator[TextCommand]:
        targets = [] if self._task.under_light else self._targets()
        if targets and self._full.issuperset(targets):
            yield from self._make_space(targets[0])
        placed = set(self._done(targets[0])) if targets else set()
        known = [(thing, place) for thing, place in self._beliefs.where(self._task.thing) if thing not in placed]
        known.sort(key=lambda found: (self._lacks_treatment(found[0]), found[1] != self._beliefs.at))
        for thing, place in known:
            yield from self._reach(place)
            yield TextCommand("take", thing, place)
        yield from self._search(self._task.thing)

    def _make_space(self, target: str) -> Iterator[TextCommand]:
        done = self._done(target)
        for thing in self._beliefs.seen.get(target, []):
            if thing not in done:
                yield from self._reach(target)
                yield TextCommand("take", thing, target)

    def _search(self, kind: str) -> Iterator[TextCommand]:
        """Look into the likeliest place that was not looked into yet; after all, into the one seen longest ago."""
        beliefs = self._beliefs
        new = [place for place in beliefs.places if place not in beliefs.looked]
        old = sorted(beliefs.looked, key=lambda place: beliefs.looked[place])
        # Standing before a closed door is the cheapest moment to open it.
        new.sort(key=lambda place: (place != beliefs.at, *self._rank(kind, place)))
        for place in [*new, *old]:
            yield from self._reach(place)

    def _rank(self, kind: str, place: str) -> tuple[bool, bool, int]:
        return (not is_likely(kind, place), may_be_closed(place), self._order[place])

    # --- with something in the hand -----------------------------------------------------------------------

    def _put_away(self, held: str) -> Iterator[TextCommand]:
        """Here if possible, else where it is not in the way."""
        here = self._beliefs.at
        targets = set(self._targets())
        if here is not None and here not in targets:
            yield TextCommand("put", held, here)
        yield from self._put_somewhere(held, sorted(set(self._beliefs.places) - targets, key=self._order.__getitem__))
        if here is not None:
            yield TextCommand("put", held, here)

    def _put_somewhere(self, held: str, places: Iterable[str]) -> Iterator[TextCommand]:
        for place in sorted(places, key=may_be_closed):
            if place not in self._full:
                yield from self._reach(place)
                yield TextCommand("put", held, place)

    def _treat(self, held: str) -> Iterator[TextCommand]:
        treatment = self._task.treatment
        assert treatment is not None
        able = [
            (rank, place != self._beliefs.at, self._order[place], place)
            for place in self._beliefs.places
            if (rank := does(treatment, place)) is not None and (treatment, place) not in self._useless
        ]
        for *_, place in sorted(able):
            if place == self._beliefs.at:
                yield TextCommand(treatment, held, place)
            yield from self._reach(place)
        if not able:
            yield from self._deliver(held)  # nothing here does it: somebody may have done it unseen

    def _light_up(self) -> Iterator[TextCommand]:
        beliefs, kind = self._beliefs, self._task.place
        standing = [(place, place) for place in beliefs.places if same_kind(kind_of(place), kind)]
        for light, place in [*standing, *beliefs.where(kind)]:
            yield from self._reach(place)
            yield TextCommand("use", light)
        yield from self._search(kind)

    def _deliver(self, held: str) -> Iterator[TextCommand]:
        targets = self._targets()
        free = [place for place in targets if place not in self._full]
        for place in free:
            yield from self._reach(place)
            yield TextCommand("put", held, place)
        if not free:
            yield from self._put_away(held)
