"""What a vision-language agent is made of, and how it answers; without torch, so that any reader may know it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from hitl_ops.contracts.config import StrictConfig

AgentPart = Literal["vision", "qformer", "projection", "language"]
PicturePlace = Literal["before_prompt", "before_reply"]
PARTS: tuple[AgentPart, ...] = ("vision", "qformer", "projection", "language")
TINY = "tiny"


class TinyAgentShape(StrictConfig):
    """Sizes of the agent that starts from random weights; its architecture is InstructBLIP's over a Llama."""

    patch: int = Field(default=16, ge=1, description="edge of the squares the picture is cut into, pixels")
    vision_hidden: int = Field(default=96, ge=2, description="width of the picture encoder")
    vision_layers: int = Field(default=2, ge=1, description="its transformer layers")
    vision_heads: int = Field(default=4, ge=1, description="its attention heads; must divide vision_hidden")
    query_tokens: int = Field(default=8, ge=1, description="tokens in which the language model is shown a picture")
    qformer_hidden: int = Field(default=96, ge=2, description="width of the Q-Former")
    qformer_layers: int = Field(default=2, ge=1, description="its layers; every second one looks at the picture")
    qformer_heads: int = Field(default=4, ge=1, description="its attention heads; must divide qformer_hidden")
    task_tokens: int = Field(default=64, ge=8, description="longest task text the Q-Former reads, tokens")
    language_hidden: int = Field(default=128, ge=4, description="width of the language model")
    language_layers: int = Field(default=4, ge=1, description="its layers")
    language_heads: int = Field(default=4, ge=1, description="its attention heads; each of an even width")
    language_intermediate: int = Field(default=384, ge=8, description="width of its feed-forward layers")
    vocabulary: int = Field(default=2048, ge=1, description="most tokens the trained tokenizer may have")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.vision_hidden % self.vision_heads:
            raise ValueError("vision_heads must divide vision_hidden")
        if self.qformer_hidden % self.qformer_heads:
            raise ValueError("qformer_heads must divide qformer_hidden")
        if self.language_hidden % (2 * self.language_heads):
            raise ValueError("language_hidden must be a multiple of 2 * language_heads")
        return self


class VisionAgentConfig(StrictConfig):
    """A vision-language agent of InstructBLIP's architecture (Dai et al. 2023, arXiv 2305.06500)."""

    base: str = Field(
        default=TINY,
        min_length=1,
        description="tiny: from random weights, shaped by `tiny`; else the Hugging Face id or the folder of an "
        "InstructBLIP checkpoint over a Llama",
    )
    tiny: TinyAgentShape = Field(default=TinyAgentShape(), description="sizes where base is tiny; else unused")
    picture: int = Field(default=64, ge=8, le=1024, description="edge of the pictures it is given, pixels")
    picture_place: PicturePlace = Field(
        default="before_prompt",
        description="where the language model is shown the picture; before_prompt: as InstructBLIP was trained; "
        "before_reply: a game's turns then begin alike, and learn from one run of its text",
    )
    trainable: tuple[AgentPart, ...] = Field(
        default=PARTS, min_length=1, description="parts that train, and are kept; the others stay as in the base"
    )
    reply: Literal["constrained", "free"] = Field(
        default="constrained",
        description="constrained: one of the admissible commands, the likeliest token at every fork; free: whatever "
        "line it writes",
    )
    max_reply_tokens: int = Field(default=24, ge=1, description="longest free reply; then the line is cut")
    max_tokens: int = Field(
        default=1024, ge=32, description="longest sequence it reads, tokens: picture, prompt and reply"
    )
    history_turns: int = Field(
        default=24, ge=1, description="latest turns of a game that its prompt tells, if it can read as many"
    )
    temperature: float = Field(default=0.0, ge=0, description="0: the likeliest token; above: tokens are drawn")
    seed: int = Field(default=0, description="what is drawn depends on it and the prompt alone")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="number format of what does not train, and of arithmetic; what trains is float32"
    )
    device: str = Field(default="auto", description="auto: the GPU if there is one; else a torch device, e.g. cpu")

    @model_validator(mode="after")
    def _it_fits(self) -> Self:
        if len(set(self.trainable)) != len(self.trainable):
            raise ValueError("trainable names a part twice")
        if self.base == TINY and self.picture % self.tiny.patch:
            raise ValueError("picture must be a multiple of tiny.patch")
        if self.base == TINY and self.max_tokens <= self.tiny.query_tokens:
            raise ValueError("max_tokens leaves no room beside tiny.query_tokens")
        return self


HOW_IT_ANSWERS = frozenset({"reply", "max_reply_tokens", "history_turns", "temperature", "seed", "device"})
"""Fields that may differ from those an agent was trained with; the others are what it is."""

LAPTOP_AGENT = VisionAgentConfig()

PAPER_AGENT = VisionAgentConfig(
    base="Salesforce/instructblip-vicuna-7b",
    picture=224,
    trainable=("projection",),
    reply="free",
    max_tokens=2048,
    history_turns=50,
    dtype="bfloat16",
)
"""EMAC+: picture encoder, Q-Former and Vicuna-7B frozen, only the projection between them trains."""

TINY_CI_AGENT = VisionAgentConfig(
    picture=32,
    tiny=TinyAgentShape(
        vision_hidden=16,
        vision_layers=1,
        vision_heads=2,
        query_tokens=4,
        qformer_hidden=16,
        qformer_layers=2,
        qformer_heads=2,
        language_hidden=32,
        language_layers=2,
        language_heads=2,
        language_intermediate=64,
    ),
    device="cpu",
)
"""Learns nothing worth having, in seconds."""
