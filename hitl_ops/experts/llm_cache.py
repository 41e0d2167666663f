"""Answers of an endpoint, kept so that asking the same again costs nothing."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from hitl_ops.experts.shared_database import SharedDatabase

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    answer TEXT NOT NULL,
    stored_at REAL NOT NULL
) WITHOUT ROWID;
"""


class LLMAnswer(BaseModel):
    """One answer of an endpoint.

    Attributes:
        text: the message's content, ``""`` where the endpoint sent none.
        finish_reason: as the endpoint gave it, e.g. ``"stop"`` or ``"length"``.
        prompt_tokens: tokens read, as billed; estimated where the endpoint does not say.
        completion_tokens: tokens written, as billed; estimated where the endpoint does not say.
        latency_ms: wall time of the request that succeeded, milliseconds, retries and waiting left out.
        cached: it came from the cache; ``latency_ms`` is then that of the original request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    cached: bool = False


def cache_key(base_url: str, request: dict[str, Any], attempt: int) -> str:
    """Hash of all that decides an answer.

    Args:
        base_url: the endpoint.
        request: model, messages and sampling parameters, as sent.
        attempt: number of the try, from 0: a second try at the same question is a question of its own.
    """
    body = json.dumps([base_url, request, attempt], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(body.encode("utf-8")).hexdigest()


class LLMCache:
    """Answers by key in a SQLite file; several processes may read and write at once.

    Args:
        folder: where ``answers.sqlite`` lies.
    """

    def __init__(self, folder: Path) -> None:
        self._database = SharedDatabase(
            folder / "answers.sqlite", _SCHEMA, remedy="delete it; its answers are then asked for again"
        )

    def get(self, key: str) -> LLMAnswer | None:
        """The answer stored under ``key``, marked as cached.

        Raises:
            UserError: the file is damaged.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return LLMAnswer.model_validate_json(row[0]).model_copy(update={"cached": True}) if row else None

    def put(self, key: str, answer: LLMAnswer) -> None:
        """Store an answer; the first one under a key stays, so that reruns agree with each other.

        Raises:
            UserError: the file is damaged, or the disk is full.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (key, answer.model_dump_json(), time.time())
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
