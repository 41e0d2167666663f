"""How an agent learns round by round, playing and training in turn."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.rollouts.text_rounds import RoundPlayConfig
from hitl_ops.training.agent_config import PAPER_BC, PAPER_DPO, SMALL_BC, SMALL_DPO, AgentTrainConfig


class AgentRoundsConfig(StrictConfig):
    """One phase of rounds; ``training.phase`` says which."""

    rounds: int = Field(default=2, ge=1, description="rounds; more of them may be added to a phase that is done")
    games_per_round: int | None = Field(default=None, ge=1, description="games of each round; null: all that are given")
    fresh_games: bool = Field(
        default=False,
        description="each round takes the next games of the list, beginning anew at its end; else all take the same",
    )
    capacity: int = Field(
        default=6_700,
        ge=1,
        description="steps kept in the replay buffer; the oldest games leave it (134 games have 6700)",
    )
    play: RoundPlayConfig = Field(default=RoundPlayConfig(), description="how games are played")
    val_games: int = Field(
        default=0,
        ge=0,
        description="validation games that the agent plays alone after each round: its learning curve, always over the "
        "same games; nobody learns from them",
    )
    training: AgentTrainConfig = Field(default=SMALL_BC, description="how the agent learns from them")

    def steps_of(self, games: int) -> int:
        """Gradient steps of the whole phase, of ``games`` to play."""
        return self.rounds * (self.games_per_round or games) * self.training.gradient_steps

    def decisive(self) -> dict[str, Any]:
        """The fields that can change what is played or learned, as plain data."""
        data = self.model_dump(mode="json")
        data["training"] = self.training.decisive()
        if self.play.beta.kind != "linear" and self.training.schedule == "constant":
            del data["rounds"]  # where nothing depends on their number, rounds may be added
        return data


SMALL_ROUNDS_BC = AgentRoundsConfig(rounds=2, games_per_round=3, training=SMALL_BC)
SMALL_ROUNDS_DPO = AgentRoundsConfig(rounds=2, games_per_round=3, training=SMALL_DPO)
"""EMAC+ on a small scale."""

PAPER_ROUNDS_BC = AgentRoundsConfig(rounds=6, games_per_round=134, training=PAPER_BC)
PAPER_ROUNDS_DPO = AgentRoundsConfig(rounds=12, games_per_round=134, training=PAPER_DPO)
"""EMAC+ as published."""
