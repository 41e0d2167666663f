"""How a language model's ReAct reply is read: much is forgiven, but nothing is done that is not admissible."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hitl_ops.contracts.action import parse_action

END_OF_REPLY = "Assigned!"

# Tool[args] over one or several lines; round and curly brackets, and a bracket not closed on its line, are read too.
_CALL = re.compile(
    r"(?<![A-Za-z0-9_])([A-Za-z][A-Za-z_]{1,30}) *"
    r"[\[({](?:([^\[\](){}]{0,200})[\])}]|([^\[\](){}\n]{1,200})$)",
    re.MULTILINE,
)
_THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END = re.compile(r"assigned\s*!", re.IGNORECASE)
# A model without stop sequences goes on and plays the world's part too.
_MADE_UP = re.compile(r"^\W*(?:Agent_\d_)?Result\s*:", re.MULTILINE | re.IGNORECASE)
_LABEL = re.compile(
    r"^(?:agent[_ ]?\d?[_ ]?)?(?:next[_ ])?(?:final[_ ])?(?:action|call|answer|tool|command|output)\s*[:=]\s*", re.I
)
_AGENT_LINE = re.compile(r"^\W*agent[_ ]?(\d)[_ ]*action\W*?\s*[:=]", re.MULTILINE | re.IGNORECASE)
# A thought ends at the first line that looks like a call or a label, or at the closing word.
_THOUGHT = re.compile(
    r"thought\W*?:\W*?(\S.*?)(?=\n\W*(?:[A-Za-z_]+ *[\[({]|agent[_ ]?\d|action|```)|assigned\s*!|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_KEYWORD = re.compile(r"^\s*[A-Za-z_]+\s*=\s*")
_NONE = ("", "none", "null", "nil", "na")
_MARKS = " \t*`'\"_~>#-•$"


class Call(NamedTuple):
    """A call found in a reply, admissible or not.

    Attributes:
        tool: as written.
        args: as written, split at commas.
        text: ``Tool[args]``.
        alone: it has its line for itself, so it is meant and not just talked about.
    """

    tool: str
    args: tuple[str, ...]
    text: str
    alone: bool


def parse_reply(text: str, admissible: Sequence[str]) -> str | None:
    """Find the action a reply names.

    Chatter, Markdown, code fences, wrong case, quotes, spaces for underscores, other brackets or none are read. Calls
    on a line of their own are meant, calls inside a sentence only where there are no others; the first admissible
    one counts.

    Args:
        text: the raw reply.
        admissible: the actions the agent may name now, as ``Tool[args]``.

    Returns:
        One of ``admissible``, to the letter; None where the reply names none of them.
    """
    own = _own_words(text)
    calls = find_calls(own)
    known = _index(admissible)
    alone = [call for call in calls if call.alone]
    if (found := _first_known(alone, known)) is not None:
        return found
    # A line that is a call but for its brackets: "Pick mug 1", "Done".
    unbracketed = _unique((_squeeze(action), action) for action in admissible)
    for line in own.splitlines():
        bare = _bare(line)
        # "Done!" and "Wait …" are how people talk; "Done" alone on its line is a call.
        if not re.search(r"[.!?…]", bare) and _squeeze(bare) in unbracketed:
            return unbracketed[_squeeze(bare)]
    return None if alone else _first_known(calls, known)


def parse_joint_reply(text: str, admissible: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Find the action a reply names for each agent.

    Args:
        text: the raw reply, with lines ``Agent_0_Action: …`` and ``Agent_1_Action: …``.
        admissible: per agent that needs an action, what it may do.

    Returns:
        One admissible action for each agent that got one; the others are missing.
    """
    actions: dict[int, str] = {}
    named: set[int] = set()
    for part in _END.split(_visible(text)):
        marks = list(_AGENT_LINE.finditer(part))
        segments: dict[int, str] = {}
        for position, mark in enumerate(marks):
            end = marks[position + 1].start() if position + 1 < len(marks) else len(part)
            agent = int(mark.group(1))
            segments[agent] = f"{segments.get(agent, '')}\n{part[mark.end() : end]}"
        for agent, segment in segments.items():
            # What follows the part that first speaks of an agent is a turn the model made up.
            if agent in named:
                continue
            named.add(agent)
            action = parse_reply(segment, admissible[agent]) if agent in admissible else None
            if action is not None:
                actions[agent] = action
    return actions


def tidy_turn(text: str, action: str) -> str:
    """A reply in the form asked for, to stand in the conversation: its thought, the action taken, the closing word.

    Kept as it came, a sloppy reply would teach the model to answer like that again.
    """
    match = _THOUGHT.search(_visible(text))
    thought = " ".join(match.group(1).split()).strip(_MARKS) if match else ""
    return f"Thought: {thought}\n{action}\n{END_OF_REPLY}" if thought else f"{action}\n{END_OF_REPLY}"


def find_calls(text: str) -> list[Call]:
    """All calls in a reply's own words, admissible or not, in order."""
    own = _own_words(text)
    calls = []
    for match in _CALL.finditer(own):
        line_start = own.rfind("\n", 0, match.start()) + 1
        line_end = own.find("\n", match.end())
        before = _bare(own[line_start : match.start()] + "|")
        after = own[match.end() : line_end if line_end >= 0 else len(own)].strip(_MARKS + ".;,")
        inside = (match.group(2) or match.group(3) or "").strip()
        args = tuple(part.strip() for part in inside.split(",")) if inside else ()
        written = f"{match.group(1)}[{', '.join(' '.join(arg.split()) for arg in args)}]"
        calls.append(Call(match.group(1), args, written, alone=before == "|" and not after))
    return calls


def _visible(text: str) -> str:
    """A reply without hidden thinking and without the world's answers a model made up."""
    visible = _THINKING.sub("\n", text)
    made_up = _MADE_UP.search(visible)
    return visible[: made_up.start()] if made_up else visible


def _own_words(text: str) -> str:
    """The part of a reply that answers this turn: up to the closing word, or after it where it stands first."""
    parts = _END.split(_visible(text))
    return next((part for part in parts if _CALL.search(part)), next((part for part in parts if part.strip()), ""))


def _bare(line: str) -> str:
    """A line without bullets, numbering, Markdown and a label such as ``Action:``."""
    line = re.sub(r"^\s*(?:\d+[.)]\s+)?", "", line).strip(_MARKS)
    return _LABEL.sub("", line).strip(_MARKS)


def _first_known(calls: Sequence[Call], known: Mapping[str, str]) -> str | None:
    return next(
        (known[key] for call in calls for key in (call.text, *_keys(call.tool, call.args)) if key in known), None
    )


def _index(admissible: Sequence[str]) -> dict[str, str]:
    """Actions to the letter, and by a key that is free of spelling."""
    calls = ((parse_action(action), action) for action in admissible)
    return _unique((_keys(call.tool, call.args)[0], action) for call, action in calls) | {a: a for a in admissible}


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Action by key; a key that several actions share names none of them."""
    found: dict[str, set[str]] = {}
    for key, action in pairs:
        found.setdefault(key, set()).add(action)
    return {key: actions.pop() for key, actions in found.items() if len(actions) == 1}


def _keys(tool: str, args: tuple[str, ...]) -> list[str]:
    """What a call may be found under: spelling-free, and with the two optional last arguments added."""
    plain = [_squeeze(_KEYWORD.sub("", arg)) for arg in args]
    plain = ["none" if arg in _NONE else arg for arg in plain]
    keys = [",".join((_squeeze(tool), *plain))]
    if len(plain) == 3:  # Place and Rearrange without their two last arguments
        keys.append(f"{keys[0]},none,none")
    return keys


def _squeeze(text: str) -> str:
    """Letters and digits only, in lower case, so that spelling no longer matters."""
    return re.sub(r"[\W_]+", "", text).lower()
