"""What may enter the store: bounds on every text and number, the same on every engine, told in one line."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import PROGRAMS

MAX_VALUE_BYTES = 256 * 1024
MAX_ITERATION = 999_999
MAX_SECONDS = 10 * 24 * 3600.0
_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FILE = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


def check_text(noun: str, text: str, limit: int, *, empty: bool = False) -> str:
    """Return ``text``, a single line of at most ``limit`` characters.

    Raises:
        UserError: it is too long, empty where it must not be, or holds control characters or lone surrogates.
    """
    if not text and not empty:
        raise UserError(f"{noun} is empty", "give it at least one character")
    if len(text) > limit:
        raise UserError(f"{noun} has {len(text)} characters", f"keep it to {limit}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise UserError(f"{noun} holds control characters", "leave them out")
    return text


def check_word(noun: str, text: str, *, empty: bool = False) -> str:
    """Return ``text``, one lower-case word such as ``person`` or ``step_limit``.

    Raises:
        UserError: it is something else.
    """
    if (empty and not text) or _WORD.fullmatch(text):
        return text
    raise UserError(f"{noun} {text[:40]!r} is not a word", "write up to 32 of a-z, 0-9 and _")


def check_iteration(program: str, iteration: int) -> None:
    """Refuse a program that there is not, or an iteration out of range.

    Raises:
        UserError: either.
    """
    if program not in PROGRAMS:
        raise UserError(f"program {program[:40]!r} is unknown", f"choose one of {', '.join(PROGRAMS)}")
    if not 0 <= iteration <= MAX_ITERATION:
        raise UserError(f"iteration {iteration} is out of range", f"choose 0 to {MAX_ITERATION}")


def check_number(noun: str, number: int, low: int, high: int) -> int:
    """Return ``number``, from ``low`` to ``high``.

    Raises:
        UserError: it lies outside.
    """
    if not low <= number <= high:
        raise UserError(f"{noun} {number} is out of range", f"choose {low} to {high}")
    return number


def check_seconds(noun: str, seconds: float) -> float:
    """Return ``seconds``, from 0 to ten days.

    Raises:
        UserError: they are negative, more, or no number.
    """
    if not (math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise UserError(f"{noun} {seconds} is out of range", f"choose 0 to {MAX_SECONDS:.0f}")
    return float(seconds)


def check_share(noun: str, share: float) -> float:
    """Return ``share``, from 0 to 1.

    Raises:
        UserError: it lies outside or is no number.
    """
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise UserError(f"{noun} {share} is out of range", "choose 0 to 1")
    return float(share)


def check_moment(noun: str, moment: datetime) -> datetime:
    """Return ``moment``, which must carry its zone.

    Raises:
        UserError: it carries none.
    """
    if moment.tzinfo is None:
        raise UserError(f"{noun} has no time zone", "give it in UTC")
    return moment


def check_record_file(name: str, limit: int) -> str:
    """Return ``name``, a file below the iteration's sessions folder, or nothing.

    Raises:
        UserError: it is absolute, leads out of the folder, or holds odd characters.
    """
    if not name:
        return name
    if len(name) > limit or not _FILE.fullmatch(name) or {".", ".."} & set(PurePosixPath(name).parts):
        raise UserError(f"record file {name[:80]!r} is no plain relative path", "name it <session>/<play>.log.jsonl.gz")
    return name


def check_value(value: dict[str, Any]) -> dict[str, Any]:
    """Return what of ``value`` comes back out of the database: plain JSON.

    Raises:
        UserError: it is no JSON (NaN included), or longer than 256 KiB.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError("the label's value is not JSON", str(error)) from None
    if len(text) > MAX_VALUE_BYTES:
        raise UserError(f"the label's value has {len(text)} bytes", f"keep it to {MAX_VALUE_BYTES}")
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise UserError("the label's value is not a mapping", "give it keys")
    return plain
