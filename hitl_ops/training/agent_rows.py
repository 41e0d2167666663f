"""What a vision-language agent is taught with: answers to imitate, and answers to prefer over others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class BCRow:
    """An answer to imitate.

    Attributes:
        picture: what was seen, uint8 [S, S, 3].
        prompt: what was read.
        task: what was to be done.
        answer: what the expert said, as it completes the prompt.
        weight: what it counts.
    """

    picture: NDArray[np.uint8]
    prompt: str
    task: str
    answer: str
    weight: float = 1.0

    @property
    def answers(self) -> tuple[str, ...]:
        """The one answer."""
        return (self.answer,)


@dataclass(frozen=True, eq=False)
class DPORow:
    """Two answers, the first of which is better.

    Attributes:
        pair_id: names the pair.
        picture: what was seen, uint8 [S, S, 3].
        prompt: what was read.
        task: what was to be done.
        winner: the better answer, as it completes the prompt.
        loser: the worse one.
        reference_winner: the better answer's log-probability as the phase began, nats; None: not computed yet.
        reference_loser: the worse one's.
    """

    pair_id: str
    picture: NDArray[np.uint8]
    prompt: str
    task: str
    winner: str
    loser: str
    reference_winner: float | None = None
    reference_loser: float | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """The better answer and the worse one."""
        return (self.winner, self.loser)


AgentRow = BCRow | DPORow
RowT = TypeVar("RowT", BCRow, DPORow)
Draw = Callable[[int, int, int], Sequence[AgentRow]]
"""Given how many steps are done, how many rows are wanted and a seed: rows, the same whenever it is asked. Fewer where
there are not so many."""


def seeded_draw(rows: Sequence[RowT]) -> Draw:
    """Draw from ``rows`` by step and seed alone, none twice within a step."""

    def draw(step: int, count: int, seed: int) -> Sequence[AgentRow]:
        picked = np.random.default_rng([seed, step]).permutation(len(rows))[:count]
        return [rows[index] for index in picked]

    return draw
