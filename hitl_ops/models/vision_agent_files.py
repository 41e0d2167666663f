"""The files of a vision-language agent: what trained, what it is, and the tokenizer of one that began from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hitl_ops.contracts.errors import UserError
from hitl_ops.models.text_game_tokenizer import as_text_game_tokenizer
from hitl_ops.models.vision_agent_config import VisionAgentConfig

FACTS_FILE = "agent.json"
WEIGHTS_FILE = "weights.safetensors"
TOKENIZER_FILE = "tokenizer.json"
REMEDY = "train it again, or restore it"


class AgentFacts(BaseModel):
    """What stands beside an agent's weights."""

    model_config = ConfigDict(extra="forbid")

    config: VisionAgentConfig
    seed: int = Field(description="of a tiny base's weights")
    policy_id: str
    frozen: dict[str, list[float]] = Field(
        description="part → one number of each of its parameters, of parts that are not kept: to know the base again"
    )


def read_agent_facts(folder: Path) -> AgentFacts:
    """What stands beside an agent's weights.

    Raises:
        UserError: there is no agent, or a damaged one.
    """
    file = folder / FACTS_FILE
    try:
        return AgentFacts.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no agent in '{folder}'", "name a folder that a training wrote") from None
    except (OSError, ValidationError) as error:
        raise UserError(f"agent file '{file}' is damaged ({_reason(error)})", REMEDY) from None


def read_agent_weights(folder: Path) -> dict[str, Tensor]:
    """What trained of the agent in a folder, by name.

    Raises:
        UserError: the weights are gone or damaged.
    """
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights of agent '{folder}' cannot be read ({_reason(error)})", REMEDY) from None


def read_tokenizer(folder: Path, config: VisionAgentConfig) -> Any:
    """The tokenizer of the tiny-based agent in a folder.

    Raises:
        UserError: it is gone or damaged.
    """
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_str((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises plain Exception over a damaged file
        raise UserError(f"the tokenizer of agent '{folder}' cannot be read ({_reason(error)})", REMEDY) from None
    return as_text_game_tokenizer(read, max_positions=config.max_tokens)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])
    return " ".join(str(error).split())[:200]


def alike(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether random weights are the same; processors differ in their last digits."""
    return len(some) == len(others) and all(
        math.isclose(one, other, rel_tol=1e-2, abs_tol=1e-5) for one, other in zip(some, others, strict=True)
    )
