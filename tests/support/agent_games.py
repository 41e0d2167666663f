"""Text games as a vision-language agent reads them, and what is asked of one in tests."""

from __future__ import annotations

import random

import numpy as np
import torch

from hitl_ops.models.vision_agent import EncodedRow, VisionAgent

PLACES = ["countertop", "cabinet", "drawer", "fridge", "shelf"]
THINGS = ["mug", "bread", "apple", "knife", "book"]


def play(seed: int) -> tuple[str, str, list[str]]:
    """A game after some turns: the agent's prompt, the task, the admissible commands."""
    rng = random.Random(seed)
    task = f"put a clean {rng.choice(THINGS)} in {rng.choice(PLACES)}."
    seen = ", ".join(f"a {rng.choice(PLACES)} {rng.randint(1, 12)}" for _ in range(5))
    text = f"You are in the middle of a room. You see {seen}.\n\nYour task is to: {task}"
    for _ in range(rng.randint(0, 5)):
        place = f"{rng.choice(PLACES)} {rng.randint(1, 12)}"
        text += f"\n> go to {place}\nYou arrive at {place}. On the {place}, you see a {rng.choice(THINGS)} 1."
    commands = {f"go to {rng.choice(PLACES)} {rng.randint(1, 12)}" for _ in range(9)}
    commands |= {f"take {thing} 1 from {place} 1" for thing in THINGS[:2] for place in PLACES[:2]}
    return f"{text}\n>", task, sorted({*commands, "inventory", "look"})


GAMES = [play(seed) for seed in range(12)]
CORPUS = [text for prompt, _, commands in GAMES for text in (prompt, *(f" {command}" for command in commands))]


def pictures_of(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def stir(agent: VisionAgent, scale: float = 0.2) -> None:
    """Weights large enough that everything an answer depends on shows in it."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in sorted(agent.trainable_parameters().items()):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def answers(agent: VisionAgent, count: int = 6) -> list[tuple[str, float]]:
    prompts, tasks, admissible = zip(*GAMES[:count], strict=True)
    replies = agent.choose(prompts, tasks, pictures_of(count, agent.config.picture), admissible)
    return [(reply.action, reply.logprob) for reply in replies]


def rows_of(agent: VisionAgent, count: int) -> list[EncodedRow]:
    return [
        agent.encode(prompt, f" {commands[i % 3]}", task) for i, (prompt, task, commands) in enumerate(GAMES[:count])
    ]
