"""How a language model's answer in a household text game is read: one command, or none.

Much is forgiven (prefixes, Markdown, articles, case, other words for a verb, a trajectory where one action was
wanted), but what is read is always one of the admissible commands, and only where no other could be meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hitl_ops.worlds.text_commands import TextCommand, parse_command

_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"^(?:think|thought|reason(?:ing)?)\s*:\s*(.*)$", re.IGNORECASE)
_LABEL = re.compile(
    r"^(?:(?:the|my)\s+)?(?:next\s+|best\s+|final\s+)?(?:action|command|answer|step|output|act)\s*(?:\d+\s*)?(?:is\s*)?"
    r"[:=]\s*",
    re.IGNORECASE,
)
_NUMBERING = re.compile(r"^\(?\d+[.)]\s+")
_MARKS = " \t*`'\"“”‘’_~>#-•$:"
_ARTICLES = re.compile(r"\b(?:the|an?|some|my|your)\s+", re.IGNORECASE)
_GLUED = re.compile(r"(?<=[a-z])[\s#_]*(?=\d)")
# How chat models say what the game words otherwise.
_OTHER_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), said)
    for pattern, said in (
        (r"^(?:i (?:will|would|should|'ll|am going to) |i'll |let's |please |now |next |then |first )+", ""),
        (r"^(?:walk|move|navigate|head|travel|proceed|return|go back) to (?!.* to )", "go to "),
        (r"^go (?!to )(?=\S+ )", "go to "),
        (r"^(?:pick up|pick|grab|get|collect|fetch|remove) ", "take "),
        (r"^(?:place|drop|insert|set) ", "put "),
        (r"^take (.+?) (?:off(?: of)?|out of) ", r"take \1 from "),
        (r"^put (.+?) (?:into|inside(?: of)?|onto|in or on|on/in|in / on|to) ", r"put \1 in/on "),
        (r"^(?:wash|rinse) ", "clean "),
        (r"^(?:warm up|warm|microwave|cook) ", "heat "),
        (r"^(?:chill|cool down) ", "cool "),
        (r"^(clean|heat|cool|slice) (.+?) (?:in|at|using|on) ", r"\1 \2 with "),
        (r"^(?:turn|switch) on ", "use "),
        (r"^(?:toggle|activate) ", "use "),
        (r"^(?:look at|inspect) ", "examine "),
        (r"^(?:check )?inventory$", "inventory"),
        (r"^look around$", "look"),
    )
)
# "I would not go to cabinet 1": what a sentence speaks against is taken out of it, five words far.
_RULED_OUT = re.compile(r"\b(?:not|don t|won t|can t|cannot|never|avoid|instead of|rather than)(?: [a-z0-9/]+){1,5}")
_CLOSE_ENOUGH = 0.8
_SHORTEST_TYPO = 4


@dataclass(frozen=True, slots=True)
class TextReply:
    """What was read from an answer.

    Attributes:
        command: one of the admissible commands, to the letter; None where the answer names none.
        thought: the line of thought before it; "" without one.
    """

    command: str | None
    thought: str = ""


def parse_text_reply(text: str, admissible: Sequence[str]) -> TextReply:
    """Read an answer.

    The first line that reads as a command is the one that is meant: what follows would be done later, what the world
    would say to it is made up. Only where no line is a command does a sentence count, and only if it names exactly one.

    Args:
        text: the raw answer.
        admissible: the commands that can be carried out, in the papers' dialect.
    """
    thought = ""
    sentences: list[str] = []
    for raw in _THINKING.sub("\n", text).splitlines():
        line = _bare(raw)
        if not line:
            continue
        said = _THOUGHT.match(line)
        if said is not None:
            thought = thought or " ".join(said[1].split())
            continue
        plain = _plain(line)
        if (command := _meant(plain, admissible)) is not None:
            return TextReply(command, thought)
        if parse_command(plain) is not None and _is_short(plain):
            return TextReply(None, thought)  # a command that cannot be carried out, not one to look past
        sentences.append(plain)
    return TextReply(_named_in(" . ".join(sentences), admissible), thought)


def _bare(line: str) -> str:
    """A line without prompt marks, bullets, numbering, Markdown, a label such as ``Action:`` and a full stop."""
    bare = _NUMBERING.sub("", line.strip().strip(_MARKS))
    bare = _LABEL.sub("", bare).strip(_MARKS)
    return bare.rstrip(".!").strip(_MARKS) if not _THOUGHT.match(bare) else bare


def _plain(text: str) -> str:
    """Lower case, no articles, numbers apart, the game's own words for verbs and places."""
    plain = _GLUED.sub(" ", _ARTICLES.sub("", " ".join(text.lower().split())))
    for pattern, said in _OTHER_WORDS:
        plain = pattern.sub(said, plain)
    return " ".join(plain.split())


def _is_short(plain: str) -> bool:
    """Whether a line is a command and nothing else: "examine situation before doing anything rash" is talk."""
    return len(plain.split()) <= 9


def _meant(plain: str, admissible: Sequence[str]) -> str | None:
    """The one admissible command a line stands for, from the strictest reading to the loosest."""
    given = parse_command(plain) or _halved(plain)
    if given is None:
        return None
    known = [(parse_command(command), command) for command in admissible]
    same_verb = [(other, command) for other, command in known if other is not None and other.verb == given.verb]
    for alike in (_same, _same_but_for_what_is_left_out, _same_but_for_spelling):
        found = {command for other, command in same_verb if alike(given, other)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _halved(plain: str) -> TextCommand | None:
    """A command whose second half is missing: "take mug 1", "put mug 1"."""
    verb, _, thing = plain.partition(" ")
    if thing and verb in ("take", "put", "clean", "heat", "cool", "slice"):
        return TextCommand(verb, thing)  # type: ignore[arg-type]  # six of the verbs
    return None


def _same(given: TextCommand, other: TextCommand) -> bool:
    return (_squeezed(given.thing), _squeezed(given.place)) == (_squeezed(other.thing), _squeezed(other.place))


def _same_but_for_what_is_left_out(given: TextCommand, other: TextCommand) -> bool:
    """The same nouns where they are named; a number or the whole second noun may be left out."""
    return _less(given.thing, other.thing) and (not given.place or _less(given.place, other.place))


def _less(given: str, other: str) -> bool:
    name, number = _numbered(given)
    other_name, other_number = _numbered(other)
    return _squeezed(name) == _squeezed(other_name) and number in ("", other_number)


def _same_but_for_spelling(given: TextCommand, other: TextCommand) -> bool:
    """The same numbers, and names with at most a slip of the pen: "conter" is one, "cup" for "mug" is not."""
    return _slip(given.thing, other.thing) and (
        bool(given.place) == bool(other.place) and _slip(given.place, other.place)
    )


def _slip(given: str, other: str) -> bool:
    name, number = _numbered(given)
    other_name, other_number = _numbered(other)
    if number != other_number:
        return False
    one, two = _squeezed(name), _squeezed(other_name)
    if one == two:
        return True
    return min(len(one), len(two)) >= _SHORTEST_TYPO and difflib.SequenceMatcher(None, one, two).ratio() > _CLOSE_ENOUGH


def _numbered(noun: str) -> tuple[str, str]:
    """A noun and its number, "" where it has none."""
    found = re.fullmatch(r"(.*?)\s*(\d*)", noun.strip())
    assert found is not None
    return found[1], found[2]


def _named_in(text: str, admissible: Iterable[str]) -> str | None:
    """The one admissible command a text mentions word for word; None where it mentions several."""
    words = _RULED_OUT.sub(" ", f" {re.sub(r'[^a-z0-9/]+', ' ', text)} ")
    found = [command for command in admissible if " " in command and f" {_plain(command)} " in words]
    # "take mug 1 from desk 1" does not also mean a shorter command that it contains.
    longest = [one for one in found if not any(one != other and _plain(one) in _plain(other) for other in found)]
    return longest[0] if len(longest) == 1 else None


def _squeezed(text: str) -> str:
    """Letters and digits only, so that spacing and hyphens no longer matter."""
    return re.sub(r"[\W_]+", "", text)
