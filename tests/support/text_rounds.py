"""Small text games, an agent that learns in seconds, and what rounds of them need."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from hitl_ops.contracts.text_game import TextGame
from hitl_ops.models.vision_agent import VisionAgent
from hitl_ops.models.vision_agent_config import TINY_CI_AGENT
from hitl_ops.rollouts.text_history import completion
from hitl_ops.rollouts.text_players import TextPlayersConfig, make_players
from hitl_ops.rollouts.text_rounds import RoundPlayConfig, RoundPlayer
from hitl_ops.training.agent_config import AgentTrainConfig
from hitl_ops.training.agent_rounds import train_rounds
from hitl_ops.training.agent_rounds_config import AgentRoundsConfig
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.household_text.world import HouseholdTextWorld

MAX_STEPS = 6
WORLDS: dict[Any, dict[str, Any]] = {"household": {"max_steps": MAX_STEPS, "renderer": "pybullet"}}
PLAYERS = TextPlayersConfig(expert="searcher", worlds=WORLDS)


@cache
def games(count: int = 3) -> tuple[TextGame, ...]:
    """Short games of several families."""
    config = HouseholdTextConfig(rooms=1, objects_per_room=2, max_steps=20)
    return tuple(generate_games("train", count, 5, config))


@cache
def val_games(count: int = 2) -> tuple[TextGame, ...]:
    """Short games that nobody learns from."""
    config = HouseholdTextConfig(rooms=1, objects_per_room=2, max_steps=20)
    return tuple(generate_games("val", count, 5, config))


@cache
def _corpus() -> tuple[str, ...]:
    texts = []
    for game in games():
        turn = HouseholdTextWorld(MAX_STEPS).begin(game)
        texts += [turn.text + "\n>", *(completion(command) for command in turn.admissible)]
    return tuple(texts)


def tiny_agent(seed: int = 0, **changes: Any) -> VisionAgent:
    """An agent of random weights."""
    return VisionAgent.create(TINY_CI_AGENT.replace(**changes), _corpus(), seed)


def rounds_config(phase: str = "bc", *, play: dict[str, Any] | None = None, **changes: Any) -> AgentRoundsConfig:
    """Two rounds of three games, two gradient steps after each."""
    training = AgentTrainConfig(
        phase=phase,  # type: ignore[arg-type]
        batch_size=4,
        accumulation=1,
        gradient_steps=2,
        learning_rate=3e-3,
        warmup=1,
    )
    given = {"rounds": 2, "training": training.model_dump(), "play": RoundPlayConfig(**(play or {})).model_dump()}
    return AgentRoundsConfig.model_validate({**given, **changes})


def start_agent(folder: Path, seed: int = 0) -> Path:
    """Save an agent to start a phase from; returns its folder."""
    if not folder.is_dir():
        tiny_agent(seed).save(folder)
    return folder


def play_both_phases(folder: Path, games_at_once: int = 1) -> None:
    """Imitation, then preferences from where it ended: what a program does, and what may be killed at any moment."""
    torch.set_num_threads(1)
    collector = RoundPlayer(make_players(PLAYERS, folder / "llm"))
    play = {"games_at_once": games_at_once, "beta": {"kind": "exponential", "start": 0.5}}
    bc, dpo = (rounds_config(phase, play=play, val_games=2) for phase in ("bc", "dpo"))
    validation = val_games()
    try:
        start = start_agent(folder / "start")
        train_rounds(bc, start, games(), collector, folder / "bc", validation=validation)
        train_rounds(dpo, folder / "bc" / "agent", games(), collector, folder / "dpo", validation=validation)
    finally:
        collector.close()
