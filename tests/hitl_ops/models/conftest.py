"""Prompts in the append-only dialect, and a small model that reads them."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

import pytest
import torch

from hitl_ops.models.base_models import LoadedBase, TinyConfig, load_base

FURNITURE = [
    "table",
    "coffee_table",
    "counter",
    "fridge",
    "cabinet",
    "chest_of_drawers",
    "desk",
    "shelf",
    "sink",
    "bed",
]
OBJECTS = ["mug", "book", "plate", "toy_car", "potted_plant", "spoon", "laptop", "tomato", "kettle"]
ROOMS = ["kitchen", "living_room", "bedroom", "bathroom", "office"]


@dataclass
class Turn:
    prompt: str
    completion: str
    admissible: list[str]


def play(seed: int, *, turns: int = 8, furniture: int = 30) -> list[Turn]:
    """An agent's decisions in one home: every prompt extends the one before it and its completion."""
    rng = random.Random(seed)
    rooms = [f"{kind}_1" for kind in ROOMS]
    placed: dict[str, list[str]] = {room: [f"floor_{room}"] for room in rooms}
    count: dict[str, int] = {}
    for _ in range(furniture):
        kind = rng.choice(FURNITURE)
        count[kind] = count.get(kind, 0) + 1
        placed[rng.choice(rooms)].append(f"{kind}_{count[kind]}")
    all_furniture = [name for names in placed.values() for name in names]
    thing, goal = rng.choice(OBJECTS), rng.choice(FURNITURE)
    room, onto = rng.choice(ROOMS).replace("_", " "), goal.replace("_", " ")
    instruction = f"Bring the {thing.replace('_', ' ')} from the {room} to the {onto}."
    lines = [
        "You are Agent_1, a human. Choose the next action.",
        f"Task: {instruction}",
        "Current Environment:",
        "Furniture:",
        *(f"{room}: {', '.join(names)}" for room, names in placed.items()),
        "The following furnitures have a faucet: sink_1",
        "Objects:",
        "No objects found yet",
        "Previous actions:",
        "Next Agent_Action:<act>",
    ]
    prompt = "\n".join(lines)
    seen: list[str] = []
    result = []
    for _ in range(turns):
        admissible = [f"Explore[{room}]" for room in rooms]
        admissible += [f"Navigate[{name}]" for name in all_furniture + seen]
        admissible += [f"Open[{name}]" for name in all_furniture] + [f"Pick[{name}]" for name in seen]
        admissible += [f"Place[{seen[0]}, on, {name}, None, None]" for name in all_furniture if seen]
        admissible += ["Wait[]", "Done[]"]
        action = rng.choice(admissible)
        result.append(Turn(prompt, f"{action}<end_act>", admissible))
        found = f"{rng.choice(OBJECTS)}_{rng.randint(1, 3)}"
        if found not in seen:
            seen.append(found)
        prompt += (
            f"{action}<end_act>\nAction Result: Successful execution!\n"
            f"Objects: {found}: {rng.choice(all_furniture)} in {rng.choice(rooms)}\n"
        )
        if rng.random() < 0.4:
            prompt += f"Other_Agent_Action: Pick[{rng.choice(OBJECTS)}_1] Successful execution!\n"
        prompt += "Next Agent_Action:<act>"
    return result


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    torch.set_num_threads(1)
    return [turn.prompt + turn.completion for seed in range(40) for turn in play(seed)]


@pytest.fixture(scope="session")
def tiny_base(corpus, tmp_path_factory) -> LoadedBase:
    shape = TinyConfig(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64)
    return load_base("tiny", cache=tmp_path_factory.mktemp("cache"), corpus=corpus, tiny=shape, seed=3)


@pytest.fixture(scope="session")
def play_episode():
    """The function that makes an agent's decisions."""
    return play


@pytest.fixture(scope="session")
def decisive(tiny_base) -> LoadedBase:
    """The small model with random weights so large that its choices differ from prompt to prompt."""
    model = copy.deepcopy(tiny_base.model)
    draw = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3, generator=draw)
    return LoadedBase(model, tiny_base.tokenizer, "decisive")
