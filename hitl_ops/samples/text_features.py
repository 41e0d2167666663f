"""Words as numbers of a fixed count: a bag of words whose places are hashes, the same in every process.

Feature hashing after Weinberger et al. 2009: a word's hash says which number it is counted in, and with which sign, so
that words that meet in one place cancel as often as they add up. Each bag has length 1, so that a long text does not
drown a short one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_WORD = re.compile(r"[a-z0-9_]+")


def words(text: str) -> list[str]:
    """A text's words, in small letters."""
    return _WORD.findall(text.lower())


def bag_of_words(tokens: Iterable[str], width: int) -> npt.NDArray[np.float32]:
    """Tokens as one vector of length 1, [width]; zeros where there is none.

    Args:
        tokens: in any order; each counts as often as it is there.
        width: how many numbers.
    """
    counts = np.zeros(width, dtype=np.int64)
    for token in tokens:
        place, sign = _place(token)
        counts[place % width] += sign
    length = np.sqrt(float((counts**2).sum()))
    return (counts / length if length else counts).astype(np.float32)


@lru_cache(maxsize=2**16)
def _place(token: str) -> tuple[int, int]:
    """Where a token is counted, before it is brought to a width, and with which sign."""
    hashed = int.from_bytes(hashlib.blake2b(token.encode("utf-8", "replace"), digest_size=8).digest(), "little")
    return hashed >> 1, 1 if hashed & 1 else -1
