"""Everything about the server of the games page that may be set."""

from __future__ import annotations

from pydantic import Field

from ui_collect.web_settings import WebSettings


class GamesSettings(WebSettings):
    """The server of the games page."""

    port: int = Field(default=8097, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    # A key that is held down shows thirty steps a second, each with a picture.
    requests_per_s: float = Field(default=60.0, gt=0, description="requests a second from one address")
    request_burst: int = Field(default=400, ge=1, description="requests at once from one address")
