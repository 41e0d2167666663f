"""What can be known of a text game from its words alone: where things were seen, what is open, what was done.

Reads the answers of both text worlds, in ALFWorld's wording before and since 0.4 ("You put the mug 1 in/on the
desk 1." and "You move the mug 1 to the desk 1.").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hitl_ops.contracts.text_game import NOTHING_HAPPENS
from hitl_ops.worlds.text_commands import TextCommand
from hitl_ops.worlds.text_tasks import Treatment

_NAMED = re.compile(r"\ban? ([a-z][a-z /'-]*? \d+)")
_ON = re.compile(r"\bon the ([a-z][a-z /'-]*? \d+), you see (.+?)\.")
_INSIDE = re.compile(r"\bthe ([a-z][a-z /'-]*? \d+) is open\. in it, you see (.+?)\.")
_CLOSED = re.compile(r"\bthe ([a-z][a-z /'-]*? \d+) is closed\.")
_CARRYING = re.compile(r"\byou are carrying: (.+)")


def kind_of(name: str) -> str:
    """The kind in a spoken name: "coffee table 1" is a "coffee table"."""
    return name.rsplit(" ", 1)[0]


def same_kind(kind: str, other: str) -> bool:
    """Whether two kinds are one, however they are spaced: "coffee table" and "coffeetable"."""
    return kind.replace(" ", "") == other.replace(" ", "")


@dataclass(slots=True)
class TextBeliefs:
    """Beliefs of one game; ``read`` keeps them up to date.

    Attributes:
        places: everything one can go to, in the order told.
        at: where the agent stands; None in the middle of the room.
        held: what it carries.
        seen: place → things in or on it when it was last seen; only places that were looked into.
        closed: place → whether its door is closed; only places with a door that was told of.
        looked: place → when it was last looked into, counted in answers read.
        treated: thing → what was done to it and still holds.
    """

    places: tuple[str, ...]
    at: str | None = None
    held: str | None = None
    seen: dict[str, list[str]] = field(default_factory=dict)
    closed: dict[str, bool] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    treated: dict[str, set[Treatment]] = field(default_factory=dict)
    answers: int = 0

    @classmethod
    def from_opening(cls, text: str) -> TextBeliefs:
        """What the opening tells: the places there are."""
        return cls(tuple(_NAMED.findall(_before_task(text))))

    def read(self, command: TextCommand | None, text: str) -> None:
        """Take in a command that somebody gave (None: it was no command) and what the world answered."""
        self.answers += 1
        said = " ".join(text.lower().split())
        if command is None or said == NOTHING_HAPPENS.lower():
            return
        match command.verb:
            case "go":
                self.at = command.thing
            case "take":
                self.held = command.thing
                for things in self.seen.values():
                    if command.thing in things:
                        things.remove(command.thing)
            case "put":
                self.held = None
                self.seen.setdefault(command.place, []).append(command.thing)
            case "open" | "close":
                self.closed[command.thing] = command.verb == "close"
            case "clean" | "heat" | "cool":
                self._treat(command.thing, command.verb)
            case "inventory":
                carrying = _CARRYING.search(said)
                self.held = next(iter(_NAMED.findall(carrying[1])), None) if carrying else None
        self._look(said)
        if command.verb == "go" and not self.closed.get(command.thing, False) and command.thing not in self.looked:
            self.holds_nothing(command.thing)  # a lamp, say: neither a door nor things on it were told of

    def holds_nothing(self, place: str) -> None:
        """Take in that there is nothing to be found at a place."""
        self._saw(place, "nothing")

    def _treat(self, thing: str, treatment: Treatment) -> None:
        done = self.treated.setdefault(thing, set())
        # Heat drives out cold and the other way round.
        done -= {"heat": {"cool"}, "cool": {"heat"}, "clean": set()}[treatment]
        done.add(treatment)

    def _look(self, said: str) -> None:
        for found in _CLOSED.finditer(said):
            self.closed[found[1]] = True
        for found in _ON.finditer(said):
            self._saw(found[1], found[2])
        for found in _INSIDE.finditer(said):
            self.closed[found[1]] = False
            self._saw(found[1], found[2])

    def _saw(self, place: str, listed: str) -> None:
        things = _NAMED.findall(listed)
        for other, there in self.seen.items():
            if other != place:
                self.seen[other] = [thing for thing in there if thing not in things]
        self.seen[place] = things
        self.looked[place] = self.answers

    def where(self, kind: str) -> list[tuple[str, str]]:
        """Things of a kind that were seen, as (thing, place), in the order of the places."""
        return [
            (thing, place) for place, things in self.seen.items() for thing in things if same_kind(kind_of(thing), kind)
        ]


def _before_task(text: str) -> str:
    return re.split(r"your task is to:", " ".join(text.lower().split()), maxsplit=1)[0]
