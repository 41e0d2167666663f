"""Text that came from elsewhere, made fit to be shown: a server must not be able to write into our terminal."""

from __future__ import annotations


def shown(text: object, *, longest: int = 300) -> str:
    """One line of printable characters, no longer than ``longest``."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
