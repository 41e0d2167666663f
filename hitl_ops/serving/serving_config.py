"""How decisions are made for many sessions at once: what may be set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig


class ServingConfig(StrictConfig):
    """How decisions are made."""

    batching: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="whether requests that come together are decided in one batch; auto: on an accelerator only. On "
        "one core, with the laptop model, 60 sessions and prompts of 230 tokens, one after another makes 132 decisions "
        "a second, since of each prompt only what is new is run (50 tokens); batches of 8 make 75, of 60 make 64",
    )
    most_together: int = Field(default=16, ge=1, le=1024, description="requests decided together at most")
    gather_ms: float = Field(default=3.0, ge=0, le=1000, description="how long the first request waits for others")
    most_waiting: int = Field(default=4096, ge=1, description="requests that may wait; further ones are refused")
    kept_prefixes: int = Field(default=256, ge=1, description="agents whose last prompt's keys and values are kept")
    decode: Literal["greedy", "score"] = Field(default="greedy", description="as in PlannerLMConfig")
    device: str = Field(default="auto", description="as in PlannerLMConfig")
    threads: int = Field(default=1, ge=1, description="processor threads of the model; simulation needs the others")
    poll_s: float = Field(default=5.0, gt=0, le=3600, description="seconds between looks for a newer policy")
