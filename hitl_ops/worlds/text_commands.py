"""Commands of household text games, read and written in both verb dialects.

The dialects differ in one verb: the papers' prompts (ReAct, Yao et al. 2023, arXiv 2210.03629) say
"put mug 1 in/on desk 1", ALFWorld since 0.4.0 "move mug 1 to desk 1". Both are read everywhere; what agents and
experts see is the papers'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Dialect = Literal["papers", "alfworld"]
Verb = Literal[
    "go",
    "take",
    "put",
    "open",
    "close",
    "clean",
    "heat",
    "cool",
    "slice",
    "use",
    "examine",
    "inventory",
    "look",
    "help",
]


@dataclass(frozen=True, slots=True)
class TextCommand:
    """One command.

    Attributes:
        verb: what to do.
        thing: what it is done to, "mug 1"; where to go; empty for ``inventory``, ``look`` and ``help``.
        place: the second noun: taken from, put to, or done with; empty for verbs with one noun.
    """

    verb: Verb
    thing: str = ""
    place: str = ""

    def __str__(self) -> str:
        return render_command(self)


_ALONE: frozenset[Verb] = frozenset({"inventory", "look", "help"})
_WITH: frozenset[Verb] = frozenset({"clean", "heat", "cool", "slice"})
_ONE_NOUN: frozenset[Verb] = frozenset({"open", "close", "use", "examine"})
# Nouns never hold these words, so the first one divides. "in" and "on" alone are what chat models write.
_FORMS: tuple[tuple[Verb, re.Pattern[str]], ...] = (
    ("go", re.compile(r"go to (?P<thing>.+)")),
    ("take", re.compile(r"take (?P<thing>.+?) from (?P<place>.+)")),
    ("put", re.compile(r"put (?P<thing>.+?) (?:in/on|in|on) (?P<place>.+)")),
    ("put", re.compile(r"move (?P<thing>.+?) to (?P<place>.+)")),
    *((verb, re.compile(rf"{verb} (?P<thing>.+?) with (?P<place>.+)")) for verb in get_args(Verb) if verb in _WITH),
    *((verb, re.compile(rf"{verb} (?P<thing>.+)")) for verb in get_args(Verb) if verb in _ONE_NOUN),
    *((verb, re.compile(verb)) for verb in get_args(Verb) if verb in _ALONE),
)


def parse_command(text: str) -> TextCommand | None:
    """Read a command of either dialect; None where it is none. Case and extra spaces do not matter."""
    plain = " ".join(text.lower().split())
    for verb, form in _FORMS:
        match = form.fullmatch(plain)
        if match is not None:
            nouns = match.groupdict()
            return TextCommand(verb, nouns.get("thing") or "", nouns.get("place") or "")
    return None


def render_command(command: TextCommand, dialect: Dialect = "papers") -> str:
    """Write a command; ``parse_command`` reads it back equal."""
    if command.verb == "go":
        return f"go to {command.thing}"
    if command.verb == "take":
        return f"take {command.thing} from {command.place}"
    if command.verb == "put":
        between = "in/on" if dialect == "papers" else "to"
        return f"{'put' if dialect == 'papers' else 'move'} {command.thing} {between} {command.place}"
    if command.verb in _WITH:
        return f"{command.verb} {command.thing} with {command.place}"
    if command.verb in _ALONE:
        return command.verb
    return f"{command.verb} {command.thing}"


def in_dialect(text: str, dialect: Dialect) -> str:
    """The same command in another dialect; text that is no command comes back unchanged."""
    command = parse_command(text)
    return text if command is None else render_command(command, dialect)
