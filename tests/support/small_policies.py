"""Policies for tests: small enough to be made in a moment, so random that each chooses in its own way."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.models.base_models import LoadedBase, TinyConfig, load_base
from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
from hitl_ops.worlds.household.prompts import AgentView
from hitl_ops.worlds.household.world import HouseholdWorld
from tests.support.plays import small_episode


def prompts(count: int = 6) -> list[tuple[str, list[str]]]:
    """What a partner is asked in the course of a play: prompts that grow, and what may follow."""
    world = HouseholdWorld(small_episode())
    view = AgentView(world, 1)
    asked = []
    for number in range(count):
        observation = view.observe()
        asked.append((observation.prompt, observation.admissible))
        world.start(1, observation.admissible[7 * number % len(observation.admissible)])
        while world.busy(1):
            for ended in world.tick():
                view.finished(ended)
    return asked


@cache
def _base() -> LoadedBase:
    shape = TinyConfig(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64)
    corpus = [prompt + "".join(f"{action}<end_act>" for action in admissible) for prompt, admissible in prompts()]
    return load_base("tiny", cache=Path(mkdtemp()), corpus=corpus, tiny=shape, seed=3)


def write_policy(folder: Path, *, iteration: int = 0, seed: int = 0, prompt_style: str = "incremental") -> str:
    """Write a policy as a training does (``merged/`` and ``card.json``); returns its id."""
    base = _base()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in base.model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3, generator=draw)
    with publishing(folder / MERGED_FOLDER) as temporary:
        base.model.save_pretrained(temporary)
        base.tokenizer.save_pretrained(temporary)
    card = PolicyCard(
        program="planner",
        iteration=iteration,
        parent="tiny",
        samples_hash=f"{seed:08x}",
        config={"seed": seed},
        prompt_style=prompt_style,
    )
    publish_json(folder / CARD_FILE, card)
    return card.policy_id
