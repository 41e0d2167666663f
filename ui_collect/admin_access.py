"""Who may see the dashboard and make invitations: one admin token, kept as its hash; cookies for browsers."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from pathlib import Path

from starlette.requests import HTTPConnection

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json
from hitl_ops.labels.tokens import hash_token, new_token

COOKIE = "flywheel_admin"
COOKIE_S = 12 * 3600
_COOKIES = 64


def read_or_make_admin_token(file: Path, *, renew: bool = False) -> tuple[str, str | None]:
    """The hash of the admin token.

    Args:
        file: where it is kept, readable by its owner alone.
        renew: make a new one; the old one opens nothing any more.

    Returns:
        The hash, and the token itself if it was made now.

    Raises:
        UserError: the file is damaged or cannot be written.
    """
    if file.exists() and not renew:
        try:
            kept = str(json.loads(file.read_text(encoding="utf-8"))["admin_token_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"'{file}' is damaged", "make a new token with --new-admin-token") from None
        return kept, None
    token = new_token()
    before = os.umask(0o077)
    try:
        publish_json(file, {"admin_token_sha256": hash_token(token)})
    finally:
        os.umask(before)
    return hash_token(token), token


class AdminAccess:
    """Checks requests; remembers who logged in by browser.

    Args:
        token_hash: hash of the admin token.
        secure: whether cookies are for TLS only.
    """

    def __init__(self, token_hash: str, *, secure: bool) -> None:
        self._token_hash = token_hash
        self.secure = secure
        self._cookies: dict[str, float] = {}

    def right(self, token: str) -> bool:
        """Whether this is the admin token."""
        return hmac.compare_digest(hash_token(token), self._token_hash)

    def login(self) -> str:
        """A new cookie's value; it is forgotten when the server stops."""
        while len(self._cookies) >= _COOKIES:
            del self._cookies[next(iter(self._cookies))]
        value = secrets.token_urlsafe(32)
        self._cookies[hash_token(value)] = time.monotonic() + COOKIE_S
        return value

    def logout(self, request: HTTPConnection) -> None:
        """Forget a browser."""
        self._cookies.pop(hash_token(request.cookies.get(COOKIE, "")), None)

    def admits(self, request: HTTPConnection) -> bool:
        """Whether a request carries the token, or a cookie given for it."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.right(token.strip()):
            return True
        until = self._cookies.get(hash_token(request.cookies.get(COOKIE, "")))
        return until is not None and time.monotonic() < until
