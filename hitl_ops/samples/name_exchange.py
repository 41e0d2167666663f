"""The same episode with other things in it: names of kinds exchanged, everything else as it was.

A small model that always sees mugs in kitchens learns mugs and kitchens by heart. In an exchanged copy the mug is
called a hammer throughout, the kitchen an office and the counter a bathtub, in the instruction, the lists, the
history and the answers alike; what can be learned from all copies together is to read. The kinds are those of the
household catalogue; a text without them is left as it is.
"""

from __future__ import annotations

import functools
import random
import re

from hitl_ops.worlds.household.catalog import FURNITURE, OBJECTS, ROOMS

_TASK = "Task:"
_GROUPS = (tuple(OBJECTS), tuple(FURNITURE), tuple(ROOMS))


@functools.cache
def _pattern() -> re.Pattern[str]:
    kinds = sorted((kind for group in _GROUPS for kind in group), key=len, reverse=True)
    # Spoken with spaces, written with underscores; never inside another word.
    return re.compile("(?<![a-z])(" + "|".join(kind.replace("_", "[ _]") for kind in kinds) + ")(?![a-z])")


@functools.lru_cache(maxsize=64)
def _exchange(seed: str) -> dict[str, str]:
    mapping: dict[str, str] = {}
    rng = random.Random(seed)
    for group in _GROUPS:
        others = list(group)
        rng.shuffle(others)
        mapping.update(zip(group, others, strict=True))
    return mapping


def exchange_names(text: str, seed: str) -> str:
    """A text from the task on with the kinds of objects, furniture and rooms exchanged among themselves.

    Args:
        text: a prompt, or a completion of one; what stands before ``Task:`` is left as it is.
        seed: the same seed exchanges the same kinds for the same others, so that prompts of an episode stay
            prefixes of one another.
    """
    mapping = _exchange(seed)
    opening, mark, rest = text.partition(_TASK) if _TASK in text else ("", "", text)

    def other(match: re.Match[str]) -> str:
        kind = mapping[match[1].replace(" ", "_")]
        # In a name (kitchen_cabinet_1) the words are joined, in speech they are not.
        written = rest[match.end() : match.end() + 1] == "_"
        return kind if written else kind.replace("_", " ")

    return opening + mark + _pattern().sub(other, rest)
