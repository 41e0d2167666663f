"""Everything about the server of the compare page that may be set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hitl_ops.samples.comparison_queue import ComparisonSettings
from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.web_settings import WebSettings

ComparedProgram = Literal["preference", "planner", "station"]


class CompareSettings(WebSettings):
    """The server of the compare page."""

    port: int = Field(default=8096, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    program: ComparedProgram = Field(default="preference", description="whose clips are compared")
    only_iteration: int | None = Field(
        default=None, ge=0, le=999_999, description="whose clips are compared; by default the newest that has some"
    )
    films_ahead: int = Field(default=8, ge=1, le=1000, description="pairs filmed before anybody is asked of them")
    queue: ComparisonSettings = Field(
        default_factory=ComparisonSettings, description="of how many people pairs are asked, and how often again"
    )
    annotation: AnnotationSettings = Field(
        # Every clip that is looked at is a film and a picture.
        default_factory=lambda: AnnotationSettings(requests_per_s=50.0, request_burst=400, cache_mb=2048),
        description="the page on which clips are compared",
    )
