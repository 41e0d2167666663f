"""A scripted person who compares clips: by what a simulator says they were worth, with mistakes and indifference."""

from __future__ import annotations

import hashlib

import numpy as np
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import Choice
from hitl_ops.records.clips import Clip


class ScriptedComparerConfig(StrictConfig):
    """How a scripted person compares."""

    errors: float = Field(default=0.1, ge=0, le=1, description="share of answers for one side that name the other one")
    indifference: float = Field(
        default=0.0, ge=0, description="true returns that differ by no more than this are called a tie"
    )
    cant_tell: float = Field(default=0.0, ge=0, le=1, description="share of pairs of which it says it can't tell")
    seconds: float = Field(default=3.0, ge=0, description="of a person's time that an answer is counted as")
    seed: int = 0


class ScriptedComparer:
    """Answers by true return; the same pair is always answered alike.

    Args:
        config: how it answers.
        name: who it is; two of different names make different mistakes.
    """

    def __init__(self, config: ScriptedComparerConfig, name: str = "scripted") -> None:
        self.config = config
        self.name = name

    def answer(self, pair_id: str, left: Clip, right: Clip, *, again: bool = False) -> Choice:
        """Which of two clips it says is better.

        Args:
            pair_id: with the name and the seed decides on mistakes.
            left: the clip on the left.
            right: the clip on the right.
            again: whether it is asked a second time, which it may answer otherwise.

        Raises:
            UserError: nobody knows what one of the clips was worth.
        """
        worth = []
        for clip in (left, right):
            if clip.true_return is None:
                raise UserError(
                    f"clip '{clip.facts.clip_id}' has no true return for a scripted person to judge by",
                    "let people compare it with `flywheel compare`",
                )
            worth.append(clip.true_return)
        rng = self._random(pair_id, again)
        unsure, wrong = rng.random(2)
        if unsure < self.config.cant_tell:
            return "cant_tell"
        if abs(worth[0] - worth[1]) <= self.config.indifference:
            return "tie"
        return "left" if (worth[0] > worth[1]) != (wrong < self.config.errors) else "right"

    def _random(self, pair_id: str, again: bool) -> np.random.Generator:
        key = f"{self.config.seed}/{self.name}/{pair_id}/{again}"
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))
