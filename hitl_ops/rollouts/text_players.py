"""Which expert labels games, and in which worlds they are played: a configuration that another process can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextExpert, TextWorld, TextWorldName
from hitl_ops.experts.text_llm import LLMTextConfig
from hitl_ops.experts.text_searcher import SearchOrder
from hitl_ops.rollouts.text_rounds import Players

TextExpertName = Literal["searcher", "oracle", "handcoded", "llm"]


class TextPlayersConfig(StrictConfig):
    """The worlds and the expert of rounds."""

    expert: TextExpertName = Field(
        default="searcher",
        description="searcher: ours, knows what was told; oracle: knows everything; handcoded: ALFWorld's own, in that "
        "world only; llm: a language model",
    )
    llm: LLMTextConfig | None = Field(default=None, description="the language model, where the expert is one")
    seed: int = Field(default=0, ge=0, description="of searcher and handcoded: the order in which they look")
    order: SearchOrder = Field(
        default="shuffled",
        description="of the searcher: whether it looks into equally likely places by its seed, or as they were told",
    )
    worlds: dict[TextWorldName, dict[str, Any]] = Field(
        default_factory=dict, description="settings of worlds by name, e.g. household: {max_steps: 50}"
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.expert == "llm" and self.llm is None:
            raise ValueError("expert llm needs the section llm")
        return self


def make_players(config: TextPlayersConfig, folder: Path) -> Players:
    """What a configuration asks for.

    Args:
        config: which worlds and which expert.
        folder: where a language model's account and answers are kept; processes and reruns that name the same one
            share its budget and ask nothing twice.

    Raises:
        UserError: a language model's key is missing, or a money budget has no prices.
    """
    from hitl_ops.worlds.text_worlds import make_text_world

    worlds: dict[str, dict[str, Any]] = dict(config.worlds.items())

    def world(name: str) -> TextWorld:
        return make_text_world(name, worlds.get(name))

    if config.expert != "llm":
        return Players(world, lambda name: _scripted(config, name))
    from hitl_ops.experts.llm_client import LLMClient
    from hitl_ops.experts.text_llm import LLMTextExpert

    llm = config.llm
    assert llm is not None
    client = LLMClient(llm.client, folder)
    return Players(world, lambda _: LLMTextExpert(llm, client), client.usage, waits=True)


def _scripted(config: TextPlayersConfig, world: str) -> TextExpert:
    if config.expert == "searcher":
        from hitl_ops.experts.text_searcher import SearcherExpert

        return SearcherExpert(config.seed, config.order)
    if config.expert == "handcoded":
        from hitl_ops.experts.alfworld_handcoded import HandCodedTextExpert

        if world != "alfworld":
            raise UserError(f"the expert 'handcoded' is not for the world '{world}'", "choose searcher, oracle or llm")
        return HandCodedTextExpert(config.seed)
    from hitl_ops.experts.text_oracle import OracleTextExpert

    if world != "alfworld":
        return OracleTextExpert()
    from hitl_ops.experts.alfworld_planner import AlfworldPlanner

    return OracleTextExpert(AlfworldPlanner())
