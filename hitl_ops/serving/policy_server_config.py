"""How a robot's policy is served: what may be set."""

from __future__ import annotations

import ipaddress

from pydantic import Field, field_validator

from hitl_ops.contracts.config import StrictConfig


class PolicyServerConfig(StrictConfig):
    """How a robot's policy is served."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on; this machine only")
    port: int = Field(default=8000, ge=0, le=65535, description="port robots connect to; 0 takes a free one")
    visualiser_port: int | None = Field(
        default=8080,
        ge=0,
        le=65535,
        description="port of the page that shows what robots see and are told, on this machine only (from elsewhere: "
        "an SSH tunnel); 0 takes a free one, null serves none",
    )
    default_prompt: str = Field(
        default="", max_length=2000, description="the task where a robot names none; Advantage=True is added to either"
    )
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="how far the policy is led by what it is told, in place of what its training says: 1 acts as told, "
        "above it goes on in the direction from the untold to the told action",
    )
    max_clients: int = Field(
        default=32, ge=1, le=1024, description="robots connected at once; further ones are refused"
    )
    max_message_mb: float = Field(
        default=64.0, gt=0, le=1024, description="largest observation, MB; four cameras of 480×640 have 3.7"
    )
    max_batch: int = Field(
        default=16, ge=1, le=1024, description="observations in one pass at most, where the policy takes as many"
    )
    gather_ms: float = Field(
        default=15.0,
        ge=0,
        le=1000,
        description="how long an observation waits at most for those of robots that are due by their own pace, and "
        "never longer than half a pass takes; a robot that is alone never waits",
    )
    poll_s: float = Field(default=2.0, gt=0, le=3600, description="seconds between looks for a newer policy")

    @field_validator("default_prompt")
    @classmethod
    def _one_line(cls, text: str) -> str:
        return " ".join(text.split())

    @property
    def max_message_bytes(self) -> int:
        """Largest observation, bytes."""
        return int(self.max_message_mb * 2**20)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        return is_local(self.host)


def is_local(host: str) -> bool:
    """Whether an address is reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
