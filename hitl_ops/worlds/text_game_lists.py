"""Which lists of games may be asked for: what all text worlds have in common."""

from __future__ import annotations

from hitl_ops.contracts.errors import UserError

MOST_GAMES = 100_000
"""Of one list; seeds are this far apart, so that no two lists share a game."""


def check_asked(count: int, seed: int) -> None:
    """See that a list can be made.

    Args:
        count: games of it.
        seed: which list.

    Raises:
        UserError: a number is out of range.
    """
    if seed < 0 or not 0 <= count <= MOST_GAMES:
        raise UserError(f"{count} games of seed {seed}", f"give a seed from 0 on and 0 to {MOST_GAMES} games")
