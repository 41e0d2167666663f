"""What every server of people's pages may be set to: where it listens, who may reach it, what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from ui_collect.annotate.settings import AnnotationSettings


class WebSettings(StrictConfig):
    """A server of people's pages."""

    host: str = Field(default="127.0.0.1", description="address to listen on; this machine only by default")
    port: int = Field(default=8080, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    certificate: Path | None = Field(default=None, description="TLS certificate chain (PEM); with key")
    key: Path | None = Field(default=None, description="TLS private key (PEM); with certificate")
    allow_origin: tuple[str, ...] = Field(
        default=(), description="origins beside the server's own that may use it, e.g. behind a proxy"
    )
    public_url: str = Field(default="", description="how people reach the server, for links; by default host and port")
    iteration: int = Field(default=0, ge=0, le=999_999, description="iteration that new invitations are for")
    joins_per_s: float = Field(default=5.0, gt=0, description="joins and connections a second from one address")
    join_burst: int = Field(default=20, ge=1, description="joins and connections at once from one address")
    max_sockets: int = Field(default=256, ge=1, le=10_000, description="live connections in all")
    labels_url: str = Field(default="", description="label store: a SQLAlchemy URL; by default SQLite in the root")
    annotation: AnnotationSettings = Field(
        default_factory=AnnotationSettings, description="the page on which plays are corrected afterwards"
    )

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
        return self
