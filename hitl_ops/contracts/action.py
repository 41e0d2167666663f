"""Actions as text: ``Tool[arg, arg]``, the form prompts, traces and corrections share."""

from __future__ import annotations

import re
from typing import NamedTuple

_ACTION = re.compile(r"^\s*([A-Za-z]+)\s*\[([^\[\]\n]*)\]\s*$")


class Action(NamedTuple):
    """One call of a tool.

    Attributes:
        tool: the tool's name, e.g. ``"Place"``.
        args: its arguments in order, e.g. ``("mug_1", "on", "table_2", "None", "None")``.
    """

    tool: str
    args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.tool}[{', '.join(self.args)}]"


def parse_action(text: str) -> Action:
    """Read ``Tool[a, b]``.

    Raises:
        ValueError: the text is not of that form.
    """
    match = _ACTION.match(text)
    if match is None:
        raise ValueError(f"not an action: {text!r}")
    body = match.group(2).strip()
    return Action(match.group(1), tuple(part.strip() for part in body.split(",")) if body else ())
