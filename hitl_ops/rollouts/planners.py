"""Who acts in a rollout: the oracle, a language model behind an endpoint or on this machine, a policy of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig, parse_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Planner
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.store import Store

PlannerKind = Literal["oracle", "openai", "local", "policy"]


class PlannerConfig(StrictConfig):
    """Who decides, and how."""

    kind: PlannerKind = Field(
        default="oracle",
        description="oracle: the heuristic expert; openai: an OpenAI-compatible endpoint; local: any causal LM; "
        "policy: weights trained here",
    )
    observability: Literal["full", "partial"] = Field(
        default="full", description="oracle only: whether it knows where unseen objects are"
    )
    path: str = Field(default="", description="policy: its folder; local: a folder, Hugging Face id or base name")
    endpoint: dict[str, object] = Field(
        default_factory=dict, description="openai only: the fields of OpenAIExpertConfig (client, mode, …)"
    )
    decode: Literal["greedy", "score"] = Field(
        default="greedy",
        description="policy and local: greedy follows the likeliest token, score weighs every admissible action whole",
    )
    temperature: float = Field(default=0.0, ge=0, description="policy and local: 0 decodes greedily")
    seed: int = Field(default=0, description="policy and local: seeds sampling where the temperature is above 0")


def planner_fingerprint(config: PlannerConfig) -> str:
    """What identifies the planner beyond its configuration: a policy's card, so that new weights are noticed.

    Raises:
        UserError: the policy folder is missing or has no card.
    """
    if config.kind != "policy":
        return config.kind
    folder = Path(config.path)
    card = next((file for file in (folder / "card.json", folder.parent / "card.json") if file.is_file()), None)
    if not config.path or not folder.is_dir():
        raise UserError(
            f"policy folder '{config.path}' does not exist", "train a policy first, or correct planner.path"
        )
    if card is None:
        raise UserError(
            f"policy folder '{folder}' has no card.json", "point planner.path at a folder that training wrote"
        )
    try:
        return json.dumps(json.loads(card.read_text(encoding="utf-8")), sort_keys=True)
    except (OSError, ValueError) as error:
        raise UserError(f"policy card '{card}' is corrupt ({error})", "train the policy again, or restore it") from None


def planner_name(config: PlannerConfig) -> str:
    """Names the planner where it cannot be asked itself: a policy by its id, every other by its kind.

    Raises:
        UserError: the policy folder is missing or has no card.
    """
    if config.kind != "policy":
        return config.kind
    return PolicyCard.model_validate_json(planner_fingerprint(config)).policy_id


def make_planner(config: PlannerConfig, work_folder: Path, *, threads: int = 1) -> Planner:
    """Build a planner. Heavy libraries load only for the kinds that need them.

    Args:
        config: who decides.
        work_folder: where paid responses and budgets are kept between processes and reruns.
        threads: CPU threads a local model may use.

    Raises:
        UserError: a model path is bad, a key is missing, or an endpoint's configuration is invalid.
    """
    if config.kind == "oracle":
        from hitl_ops.experts.oracle import Oracle

        return Oracle(config.observability)
    if config.kind == "openai":
        from hitl_ops.experts.openai_llm import OpenAIExpertConfig, make_openai_expert

        return make_openai_expert(
            parse_config(OpenAIExpertConfig, dict(config.endpoint), source="planner.endpoint"), work_folder
        )
    import torch

    from hitl_ops.models.planner_lm import PlannerLM, PlannerLMConfig

    torch.set_num_threads(threads)
    decoding = PlannerLMConfig(decode=config.decode, temperature=config.temperature, seed=config.seed)
    if config.kind == "policy":
        return PlannerLM.load(config.path, decoding)
    from hitl_ops.models.local_teacher import load_local_teacher

    return load_local_teacher(config.path, cache=Store.from_environment().cache, config=decoding)
