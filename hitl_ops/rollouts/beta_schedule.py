"""Who acts while both answer: DAgger's mixing coefficient (Ross, Gordon and Bagnell 2011, arXiv 1011.0686)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig


class BetaSchedule(StrictConfig):
    """The probability that the expert's command is executed instead of the agent's, round by round.

    DAgger's own choices are ``exponential`` from 1 (beta_i = p^(i-1)) and, what works as well there, 1 in the first
    round and 0 after it. The default, 0, executes the agent's command always.
    """

    kind: Literal["constant", "linear", "exponential"] = Field(
        default="constant",
        description="constant: start; linear: from start in the first round to end in the last; exponential: start "
        "times decay to the power of the round, never below end",
    )
    start: float = Field(default=0.0, ge=0, le=1, description="coefficient of the first round")
    end: float = Field(default=0.0, ge=0, le=1, description="where linear and exponential schedules end")
    decay: float = Field(default=0.5, ge=0, le=1, description="p of the exponential schedule")

    def at(self, round_number: int, rounds: int) -> float:
        """The coefficient of a round.

        Args:
            round_number: from 0.
            rounds: how many there are.
        """
        if self.kind == "constant":
            return self.start
        if self.kind == "linear":
            share = round_number / (rounds - 1) if rounds > 1 else 0.0
            return self.start + (self.end - self.start) * share
        return max(self.end, self.start * self.decay**round_number)


def expert_acts(beta: float, *, seed: int, round_number: int, game: int, step: int) -> bool:
    """Whether the expert's command is executed at a step: drawn by its place alone, whatever was drawn before."""
    if beta <= 0:
        return False
    draw = np.random.default_rng([seed, round_number, game, step]).random()
    return bool(draw < beta)
