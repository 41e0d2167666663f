"""Everything about the station's server that may be set."""

from __future__ import annotations

from pydantic import Field

from ui_collect.annotate.settings import AnnotationSettings
from ui_collect.web_settings import WebSettings


class StationSettings(WebSettings):
    """The station's server."""

    port: int = Field(default=8090, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    annotation: AnnotationSettings = Field(
        # A list of episodes asks for a small picture of each.
        default_factory=lambda: AnnotationSettings(requests_per_s=100.0, request_burst=2000, films_waiting=2000),
        description="the page on which episodes are judged afterwards",
    )
