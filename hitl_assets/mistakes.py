"""How a user's mistake looks in Dagster: its one line, and no retry, since it would only be made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from hitl_ops.contracts.errors import UserError


@contextmanager
def mistakes_named() -> Iterator[None]:
    """Turn a :class:`UserError` into a step failure that says what is wrong and what to do about it."""
    try:
        yield
    except UserError as error:
        raise dg.Failure(
            description=str(error), metadata={"remedy": error.remedy} if error.remedy else None, allow_retries=False
        ) from None
