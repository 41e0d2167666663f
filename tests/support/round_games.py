"""Made-up finished games, for those who read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_ops.records.round_games import RoundGame, RoundGameResult, RoundPhase, RoundStep, write_round_game

AGENT_ACTION = "a"
SIZE = 8


def pictures_of(count: int, size: int = SIZE) -> NDArray[np.uint8]:
    """A picture a step, no two alike."""
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def made_steps(labels: Sequence[str | None], **changes: Any) -> list[RoundStep]:
    """Steps at which the agent always answers ``a`` and the expert as given."""
    return [
        RoundStep(
            step=number,
            prompt=f"Step {number}.\n>",
            turn=f"Step {number}.",
            admissible=("a", "b", "look"),
            agent_reply=AGENT_ACTION,
            agent_action=changes.get("agent_action", AGENT_ACTION),
            agent_thought=changes.get("agent_thought", ""),
            expert_action=label,
            expert_thought=changes.get("expert_thought", "") if label is not None else "",
            executed_by="agent",
            executed=AGENT_ACTION,
            response="Done.",
            latency_ms=1.0,
            logprob=-0.5,
        )
        for number, label in enumerate(labels)
    ]


def made_result(
    steps: Sequence[RoundStep], *, phase: RoundPhase = "bc", round_number: int = 0, game: int = 0
) -> RoundGameResult:
    """How a game of these steps ended."""
    labelled = [step for step in steps if step.expert_action is not None]
    return RoundGameResult(
        game_id=f"made-{game}",
        family="pick_and_place_simple",
        split="train",
        world="household",
        task="put a mug in desk.",
        phase=phase,
        round=round_number,
        game=game,
        success=False,
        steps=len(steps),
        labelled=len(labelled),
        missing=len(steps) - len(labelled),
        agreed=sum(bool(step.agrees) for step in labelled),
        by_expert=0,
        nothing_happened=0,
        beta=0.0,
        agent="agent-0",
        agent_step=0,
        expert="made-up",
        latency_ms=1.0,
        expert_latency_ms=0.0,
        seed=0,
    )


def made_game(
    folder: Path,
    labels: Sequence[str | None] = ("a", "b"),
    *,
    phase: RoundPhase = "bc",
    round_number: int = 0,
    game: int = 0,
    size: int = SIZE,
    **changes: Any,
) -> RoundGame:
    """Write a game in which the agent always answers ``a`` and the expert as given."""
    steps = made_steps(labels, **changes)
    result = made_result(steps, phase=phase, round_number=round_number, game=game)
    return write_round_game(folder, steps, pictures_of(len(steps), size), result)


def write_games_for_ever(folder: Path) -> None:
    """Until somebody ends it."""
    game = 0
    while True:
        made_game(folder, ["b"] * 30, game=game, size=64)
        game += 1
