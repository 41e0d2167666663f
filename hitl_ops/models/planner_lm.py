"""A language model that plans: it reads the prompt and names one of the admissible actions, never anything else."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.planner import Observation, Reply
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.sample import END_OF_ACTION
from hitl_ops.models.base_models import Dtype, LoadedBase, load_base

if TYPE_CHECKING:
    from hitl_ops.contracts.episode import Episode
    from hitl_ops.models.constrained_decoding import Choice

CARD_FILE = "card.json"
MERGED_FOLDER = "merged"


class PlannerLMConfig(StrictConfig):
    """How a planner language model decodes."""

    decode: Literal["greedy", "score"] = Field(
        default="greedy",
        description="greedy: the likeliest token wherever admissible actions part; score: the likeliest action as a "
        "whole, at the cost of running all their tokens",
    )
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest; above, choices are drawn")
    seed: int = Field(default=0, description="what is drawn depends on it and the prompt alone")
    kept_prefixes: int = Field(default=4, ge=1, description="agents whose last prompt's keys and values are kept")
    dtype: Dtype = Field(default="float32", description="number format of the weights")
    device: str = Field(default="auto", description="auto: the GPU if there is one; else a torch device, e.g. cpu")


class PlannerLM:
    """A planner made of a causal language model.

    Args:
        base: the model and its tokenizer.
        policy_id: names the policy in every record.
        config: how to decode.
        prompt_style: the prompt dialect the model was trained on.

    Raises:
        UserError: the device is not there, or the model does not fit the way of decoding.
    """

    def __init__(
        self,
        base: LoadedBase,
        policy_id: str,
        config: PlannerLMConfig | None = None,
        *,
        prompt_style: str = "incremental",
    ) -> None:
        from hitl_ops.models.constrained_decoding import ConstrainedDecoder

        self._policy_id = policy_id
        self.config = config or PlannerLMConfig()
        self.prompt_style = prompt_style
        self._decoder = ConstrainedDecoder(
            _placed(base, self.config.device).model,
            base.tokenizer,
            decode=self.config.decode,
            temperature=self.config.temperature,
            seed=self.config.seed,
            kept_prefixes=self.config.kept_prefixes,
        )

    @classmethod
    def load(cls, folder: str | Path, config: PlannerLMConfig | None = None) -> Self:
        """Load a trained policy.

        Args:
            folder: merged weights, with ``card.json`` among or beside them; or the folder that holds ``merged/``
                and ``card.json``.
            config: how to decode.

        Raises:
            UserError: the weights or their card are missing or damaged.
        """
        given = Path(folder)
        merged = given / MERGED_FOLDER if (given / MERGED_FOLDER).is_dir() else given
        config = config or PlannerLMConfig()
        if not merged.is_dir():
            raise UserError(f"policy '{given}' does not exist", "train one first, or check the path")
        card = read_card(merged if (merged / CARD_FILE).is_file() else merged.parent)
        # Absolute, so that it can only be a folder, never an id on a hub.
        base = load_base(str(merged.resolve()), cache=merged.parent, dtype=config.dtype)
        return cls(base, card.policy_id, config, prompt_style=card.prompt_style)

    @classmethod
    def from_base(cls, base: str, *, cache: Path, config: PlannerLMConfig | None = None) -> Self:
        """Decode with an untrained base model, ``smollm2``, a folder or a Hugging Face id.

        Raises:
            UserError: the model cannot be loaded.
        """
        config = config or PlannerLMConfig()
        return cls(load_base(base, cache=cache, dtype=config.dtype), f"base:{base}", config)

    @property
    def policy_id(self) -> str:
        """Names the policy in every record."""
        return self._policy_id

    @property
    def device(self) -> str:
        """Kind of device the model runs on: ``cpu``, ``cuda``, …"""
        return str(self._decoder.model.device.type)

    def start(self, episode: Episode, world: Any) -> None:
        """Begin an episode; what is kept of the last one is of no more use."""
        self._decoder.forget()

    def forget(self, keys: Callable[[Hashable], bool]) -> None:
        """Drop what is kept of the prompts of those whose key ``keys`` is true for."""
        self._decoder.forget(keys)

    def decide(self, observation: Observation, key: Hashable = None) -> Reply:
        """Choose one of the admissible actions.

        Args:
            observation: what the agent sees.
            key: whose prompt this is, where several episodes go on side by side; the agent's number by default.
                Of the last prompts of ``config.kept_prefixes`` keys, only what is new in the next one is run.

        Raises:
            UserError: the prompt is longer than the model can read.
        """
        started = time.perf_counter()
        key = observation.agent if key is None else key
        choice = self._decoder.choose(observation.prompt, _completions(observation.admissible), key=key)
        return _reply(observation, choice, (time.perf_counter() - started) * 1000)

    def decide_batch(self, observations: Sequence[Observation]) -> list[Reply]:
        """Choose for several observations at once, of any agents and episodes; the same as one by one.

        Each reply's latency is that of the whole batch, for so long its asker has waited.

        Raises:
            UserError: a prompt is longer than the model can read.
        """
        if not observations:
            return []
        started = time.perf_counter()
        choices = self._decoder.choose_batch(
            [observation.prompt for observation in observations],
            [_completions(observation.admissible) for observation in observations],
        )
        latency_ms = (time.perf_counter() - started) * 1000
        return [_reply(o, choice, latency_ms) for o, choice in zip(observations, choices, strict=True)]


def read_card(folder: str | Path) -> PolicyCard:
    """Read the card of a policy.

    Raises:
        UserError: there is none in ``folder``, or it breaks the schema.
    """
    file = Path(folder) / CARD_FILE
    try:
        return PolicyCard.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"policy card '{file}' does not exist", "name a folder that a training wrote") from None
    except OSError as error:
        raise UserError(f"policy card '{file}' cannot be read", str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"policy card '{file}' is damaged at '{place}'", first["msg"]) from None


def _completions(admissible: list[str]) -> list[str]:
    return [f"{action}{END_OF_ACTION}" for action in admissible]


def _reply(observation: Observation, choice: Choice, latency_ms: float) -> Reply:
    action = observation.admissible[choice.index]
    stats = {
        "logprob": choice.logprob,
        "entropy": choice.entropy,
        "prompt_tokens": float(choice.prompt_tokens),
        "new_tokens": float(choice.new_tokens),
        "passes": float(choice.passes),
    }
    return Reply(f"{action}{END_OF_ACTION}", action, latency_ms, stats)


def _placed(base: LoadedBase, device: str) -> LoadedBase:
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        base.model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{device}' cannot be used ({reason})", "choose 'auto' or 'cpu'") from None
    return base
