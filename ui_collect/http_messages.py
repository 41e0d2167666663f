"""Bodies of the HTTP requests and answers beside the WebSocket."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ui_collect.protocol import ErrorCode, Message
from ui_collect.text_input import Token


class JoinRequest(Message):
    """Body of ``POST /api/join``."""

    invitation: Token = Field(description="from the fragment of the invitation link")


class JoinAnswer(Message):
    """Answer of ``POST /api/join``: keep the token, it also resumes the session."""

    token: str


class Availability(Message):
    """Answer of ``GET /available``: 200 with a free place, 503 without."""

    free: int
    capacity: int
    waiting: int


class ErrorAnswer(Message):
    """Body of every refused HTTP request of the API."""

    code: ErrorCode | Literal["bad_request", "not_found", "forbidden", "unavailable", "conflict", "refused"]
    message: str
