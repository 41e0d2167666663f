"""Secrets handed to people, and the ids the server gives to what they make."""

from __future__ import annotations

import hashlib
import re
import secrets

_ID = re.compile(r"[0-9a-f]{16}")


def new_token() -> str:
    """A secret of 256 random bits, in letters that need no escaping in a URL; keep only its hash."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is kept of a token: its SHA-256 in 64 hexadecimal digits.

    Any text can be asked for, also one that no encoding can write (a lone surrogate): it is simply unknown. A token
    is as long as its hash, so there is nothing to gain from salt or a slow function.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_id() -> str:
    """An id made by the server, 16 hexadecimal digits: no secret, and safe as the name of a folder."""
    return secrets.token_hex(8)


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of :func:`new_id`; anything else is looked up nowhere."""
    return _ID.fullmatch(text) is not None
