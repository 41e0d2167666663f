"""What is to be done, read from the page's list of what is still missing, as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_NAME = re.compile(r"[a-z]+(?:_[a-z]+)*_\d+")
_LINE = re.compile(r"^(?P<who>.+?) must (?:still )?be (?P<what>.+)$")
_FLOOR_OF = re.compile(r"the floor of ([a-z_]+_\d+)")
_IN_BRACKETS = re.compile(r" \([^)]*\)")
_SO_FAR = re.compile(r", \d+ so far")
_STATES = {
    "clean": "Clean",
    "filled": "Fill",
    "switched on": "PowerOn",
    "switched off": "PowerOff",
}
"""State as the list says it → the tool that brings it about."""


@dataclass
class Errand:
    """What shall become of one thing, or of some of several.

    Attributes:
        subjects: the things, by name; any of them will do where fewer are needed than named.
        tools: what is to be done to it, e.g. ``Clean``.
        places: furniture or floors it shall come to; one of them.
        relation: ``on`` or ``within`` them.
        rooms: rooms it shall come to; one of them.
        on_floor: it shall lie on a floor.
        beside: things it shall stand next to; one of them.
    """

    subjects: tuple[str, ...]
    tools: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    relation: str = "on"
    rooms: list[str] = field(default_factory=list)
    on_floor: bool = False
    beside: list[str] = field(default_factory=list)

    @property
    def moves(self) -> bool:
        """Whether something is to be carried somewhere."""
        return bool(self.places or self.rooms or self.on_floor or self.beside)


def errands_of(lines: Iterable[str]) -> list[Errand]:
    """The errands in a list of missing things, in its order; what is said of the same things is one errand.

    Lines that only complain (about an order that was broken, say) ask for nothing that could still be done.
    """
    errands: dict[tuple[str, ...], Errand] = {}
    for line in lines:
        match = _LINE.match(line.partition(" (counts only")[0])
        if match is None:
            continue
        subjects = tuple(_NAME.findall(match["who"]))
        what = match["what"].removesuffix(" at the end")
        if subjects:
            _read(errands.setdefault(subjects, Errand(subjects)), what)
    return list(errands.values())


def _read(errand: Errand, what: str) -> None:
    said = _IN_BRACKETS.sub("", _SO_FAR.sub("", what))
    names = _NAME.findall(_FLOOR_OF.sub(r"floor_\1", said))
    if said in _STATES:
        errand.tools.append(_STATES[said])
    elif said.startswith("on the floor") and not names:
        errand.on_floor = True
    elif said.startswith("inside "):
        errand.places, errand.relation = names, "within"
    elif said.startswith("in "):
        errand.rooms = names
    elif said == "next to each other":
        errand.beside = list(errand.subjects)
    elif said.startswith("next to "):
        errand.beside = names
    elif said.startswith("on "):
        errand.places, errand.relation = names, "on"
