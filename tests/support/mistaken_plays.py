"""Plays in which the partner now and then chose wrongly, and said how sure it was of each choice."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.store import Store
from tests.support.collected_plays import Collected
from tests.support.partnered_plays import Slipping, beside
from tests.support.plays import Player


def doubting(through: Callable[[Player], None], seed: int) -> Callable[[Player], None]:
    """Play as ``through`` does, the partner saying of each choice how sure it was."""

    def play(player: Player) -> None:
        luck = random.Random(seed)
        decide = player.decide

        def decide_in_doubt(action: str, asked_tick: int | None = None) -> None:
            decide(action, asked_tick, {"logprob": math.log(luck.choice([0.25, 0.5, 0.8, 0.97]))})

        player.decide = decide_in_doubt  # type: ignore[method-assign,assignment]
        through(player)

    return play


def collect_mistaken_plays(home: Path, episodes: list[Episode], *, most_ticks: int = 1500) -> None:
    """Have a play of every episode in a store, beside a partner that slips.

    Args:
        home: the store's root.
        episodes: the tasks.
        most_ticks: after which a play is over.
    """
    collected = Collected(Store.at(home))
    for seed, episode in enumerate(episodes):
        through = doubting(beside(Slipping(0.4, seed=seed), most_ticks=most_ticks), seed)
        collected.play(episode, f"player {seed}", through=through)
    collected.labels.close()
