"""Everything about the annotation page that may be set."""

from __future__ import annotations

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig


class AnnotationSettings(StrictConfig):
    """The annotation page."""

    target: int = Field(
        default=0, ge=0, le=1_000_000, description="plays of an iteration to be reviewed, shown to annotators; 0: none"
    )
    lease_s: float = Field(
        default=120.0, gt=0, le=86_400, description="seconds a play stays with who opened it without a sign of them"
    )
    requests_per_s: float = Field(default=20.0, gt=0, description="requests a second one annotator may make")
    request_burst: int = Field(default=120, ge=1, description="requests they may make at once")
    film_within_s: float = Field(default=60.0, gt=0, le=600, description="seconds a film may take before one is told")
    films_waiting: int = Field(default=64, ge=1, le=10_000, description="films being made or waited for at once")
    cache_mb: int = Field(default=512, ge=1, description="megabytes of films kept; the longest unseen go first")
