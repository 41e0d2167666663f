"""Text that came over the wire: what is refused, what is cleaned, and the types that say so."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

# Characters that turn the direction of what follows: harmless on their own, misleading in a log or on a page.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def refuse_control(text: str) -> str:
    """The text itself, if it holds nothing but visible characters and spaces.

    Raises:
        ValueError: there is a control, format, private or unassigned character in it.
    """
    for character in text:
        if unicodedata.category(character)[0] == "C":
            raise ValueError("control characters are not allowed")
    return text


def refuse_brackets(text: str) -> str:
    """The text itself, if it can stand as one argument of ``Tool[a, b]``.

    Raises:
        ValueError: it holds a bracket or a comma.
    """
    if any(character in "[]," for character in text):
        raise ValueError("brackets and commas are not allowed")
    return text


def strip_control(text: str) -> str:
    """What a person wrote, without control characters (line breaks and tabs stay) and without turning marks."""
    kept = (
        character
        for character in text.replace("\r\n", "\n").replace("\r", "\n")
        if character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs") and character not in _TURNING)
    )
    return "".join(kept).strip()


Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{20,128}$")]
"""A random token as the server makes it."""
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""A key the client makes up once per thing it says, so that saying it again changes nothing."""
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,32}$")]
"""The name of a tool; an unknown one is answered by the world."""
Argument = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    AfterValidator(refuse_control),
    AfterValidator(refuse_brackets),
]
"""One argument of a tool: a name as the episode message lists it. An unknown one is answered by the world."""
FreeText = Annotated[str, Field(max_length=2000), AfterValidator(strip_control)]
"""What a person writes in their own words."""
