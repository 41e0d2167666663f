"""Small vision-language agents and rows to teach them, made up from a seed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_config import TINY_CI_AGENT
from hitl_ops.training.agent_rows import BCRow, DPORow

_PLACES = ("desk", "shelf", "drawer", "fridge", "bed")
_THINGS = ("mug", "book", "apple", "lamp")


def made_up_pairs(count: int, *, turns: int = 3, size: int = TINY_CI_AGENT.picture, seed: int = 0) -> list[DPORow]:
    """Pairs of commands in games of different lengths.

    Args:
        count: how many.
        turns: most turns of a game before it.
        size: of the pictures, pixels.
        seed: another one makes others.
    """
    draw, noise = random.Random(seed), np.random.default_rng(seed)
    rows = []
    for number in range(count):
        thing, place = draw.choice(_THINGS), draw.choice(_PLACES)
        task = f"put a {thing} in {place}."
        text = (
            f"You are in the middle of a room. You see {', a '.join(draw.sample(_PLACES, 3))}.\nYour task is to: {task}"
        )
        for _ in range(draw.randint(0, turns)):
            seen = draw.choice(_PLACES)
            text += f"\n> go to {seen} {draw.randint(1, 9)}\nOn the {seen}, you see a {draw.choice(_THINGS)} 1."
        rows.append(
            DPORow(
                pair_id=f"dpo/00/0000/{number}",
                picture=noise.integers(0, 256, (size, size, 3), dtype=np.uint8),
                prompt=f"{text}\n>",
                task=task,
                # Not all of one length: what is a mean over tokens must not pass for one over answers.
                winner=(f" take {thing} {number % 9 + 1} from {place} 1", f" open {place} 1", " look")[number % 3],
                loser=f" go to {draw.choice(_PLACES)} {draw.randint(1, 9)}",
            )
        )
    return rows


def made_up_answers(count: int, **changes: Any) -> list[BCRow]:
    """The better answers of :func:`made_up_pairs`, the second of every two with double weight."""
    pairs = made_up_pairs(count, **changes)
    return [
        BCRow(pair.picture, pair.prompt, pair.task, pair.winner, weight=1.0 + number % 2)
        for number, pair in enumerate(pairs)
    ]


def small_agent(seed: int = 0, **changes: Any) -> VisionAgent:
    """An agent of some ten thousand random weights, on the processor."""
    corpus = [row.prompt + answer for row in made_up_pairs(40, seed=99) for answer in row.answers]
    return VisionAgent.create(TINY_CI_AGENT.replace(**changes), corpus, seed)
