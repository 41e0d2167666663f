"""Everything one phase of an agent's rounds is told: who plays where, who labels, how it learns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.models.vision_agent_config import VisionAgentConfig
from hitl_ops.rollouts.text_players import TextPlayersConfig
from hitl_ops.training.agent_rounds_config import AgentRoundsConfig


class AgentPhaseConfig(StrictConfig):
    """One phase of rounds, with the agent it begins with where nobody hands one over."""

    agent: VisionAgentConfig = Field(
        default=VisionAgentConfig(), description="the agent that begins anew; one that is handed over is as it was made"
    )
    seed: int = Field(default=0, ge=0, description="of a new agent's first weights")
    corpus_games: int = Field(
        default=64, ge=1, description="games that a tiny agent's tokenizer is made from, the first ones of the list"
    )
    players: TextPlayersConfig = Field(default=TextPlayersConfig(), description="the worlds and the expert")
    rounds: AgentRoundsConfig = Field(default=AgentRoundsConfig(), description="how the agent learns round by round")
    link: Literal["in_process", "http"] = Field(
        default="in_process",
        description="in_process: games are played where the agent learns; http: by a process of their own that asks "
        "the agent over a local socket",
    )

    def decisive(self, *, starts_anew: bool) -> dict[str, Any]:
        """What can change the weights, as plain data.

        Args:
            starts_anew: whether the phase makes its agent; what makes one counts only then.
        """
        told: dict[str, Any] = {"players": self.players.model_dump(mode="json"), "rounds": self.rounds.decisive()}
        if starts_anew:
            told |= {"agent": self.agent.model_dump(mode="json"), "seed": self.seed, "corpus_games": self.corpus_games}
        return told
