"""Everything about a collection server that may be set: one model, every field with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError


class CollectSettings(StrictConfig):
    """A collection server."""

    host: str = Field(default="127.0.0.1", description="address to listen on; this machine only by default")
    port: int = Field(default=8080, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    certificate: Path | None = Field(default=None, description="TLS certificate chain (PEM); with key")
    key: Path | None = Field(default=None, description="TLS private key (PEM); with certificate")
    allow_origin: tuple[str, ...] = Field(
        default=(), description="origins beside the server's own that may use it, e.g. behind a proxy"
    )
    public_url: str = Field(default="", description="how people reach the server, for links; by default host and port")

    capacity: int = Field(default=10, ge=1, le=1000, description="people who may play at once; the others wait")
    workers: int = Field(default=0, ge=0, le=256, description="simulation processes; 0: cores less one, at least one")
    partner: str = Field(
        default="serving",
        description="who the partner is: serving (the registry's alias), oracle, none, or a policy folder",
    )
    policy_poll_s: float = Field(default=5.0, gt=0, le=3600, description="seconds between looks at the policy's alias")
    decision_limit: int = Field(default=50, ge=1, le=10_000, description="decisions the partner has in one episode")

    iteration: int = Field(default=0, ge=0, le=999_999, description="iteration that new invitations collect for")
    episodes_split: str = Field(default="train", pattern="^(train|val|test)$", description="episodes people play")
    target: int = Field(default=100, ge=1, description="finished episodes that an iteration is to collect")
    tasks_per_session: int = Field(default=5, ge=1, le=1000, description="tasks after which a session says thanks")
    attempts: int = Field(default=3, ge=1, le=10, description="attempts one person has at one task")
    human_agent: int = Field(default=0, ge=0, le=1, description="agent the person drives; the partner drives the other")

    idle_warning_s: float = Field(default=90.0, gt=0, description="seconds without a sign before the warning")
    idle_end_s: float = Field(default=180.0, gt=0, description="seconds without a sign before the session ends")
    reconnect_within_s: float = Field(default=600.0, gt=0, description="seconds a person may be away before the end")
    queue_grace_s: float = Field(default=30.0, ge=0, description="seconds a place in the queue is kept while away")

    hello_within_s: float = Field(default=5.0, gt=0, description="seconds a new connection has to name its session")
    messages_per_s: float = Field(default=60.0, gt=0, description="messages a second one connection may send")
    message_burst: int = Field(default=120, ge=1, description="messages it may send at once")
    bad_messages: int = Field(default=20, ge=1, description="refused messages after which a connection is closed")
    joins_per_s: float = Field(default=5.0, gt=0, description="joins and connections a second from one address")
    join_burst: int = Field(default=20, ge=1, description="joins and connections at once from one address")
    max_sockets: int = Field(default=256, ge=1, le=10_000, description="live connections in all")
    send_queue: int = Field(default=64, ge=4, description="keyframes waiting for a slow client before they are dropped")

    labels_url: str = Field(default="", description="label store: a SQLAlchemy URL; by default SQLite in the root")

    @field_validator("allow_origin")
    @classmethod
    def _plain_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            scheme, separator, rest = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not rest or "/" in rest:
                raise ValueError(f"'{origin}' is not an origin: write it as https://host[:port]")
        return origins

    def checked(self) -> Self:
        """The settings themselves, if they fit together; options are laid over them one by one, so this comes last.

        Raises:
            UserError: they do not.
        """
        if (self.certificate is None) != (self.key is None):
            raise UserError("TLS takes a certificate and its key", "give both --certificate and --key, or neither")
        for file, option in ((self.certificate, "--certificate"), (self.key, "--key")):
            if file is not None and not file.is_file():
                raise UserError(f"file '{file}' does not exist", f"correct {option}")
        if self.idle_warning_s >= self.idle_end_s:
            raise UserError(
                f"people would be warned after {self.idle_warning_s:g} s and let go after {self.idle_end_s:g} s",
                "set idle_warning_s to less than idle_end_s",
            )
        return self
