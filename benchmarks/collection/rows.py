"""Rows of a benchmark, as ``flywheel bench`` takes them."""

from __future__ import annotations

from typing import Any

REFERENCE = "server that blocks its event loop"


def row(
    metric: str,
    unit: str,
    ours: float,
    reference: float | None = None,
    *,
    target: float | None = None,
    at_least: bool = False,
    limit: float | None = None,
) -> dict[str, Any]:
    """One figure.

    Args:
        metric: what was measured.
        unit: in what.
        ours: our figure.
        reference: the reference's; None where the figure stands alone.
        target: what the ratio of the two must reach (``at_least``) or keep below.
        at_least: see ``target``.
        limit: what a figure that stands alone must keep below.
    """
    ratio = ours / reference if reference else None
    holds: bool | None = None
    if ratio is not None and target is not None:
        holds = ratio >= target if at_least else ratio <= target
    elif limit is not None:
        holds = ours <= limit
    return {
        "metric": metric,
        "unit": unit,
        "ours": round(ours, 2),
        "reference": None if reference is None else round(reference, 2),
        "reference_name": None if reference is None else REFERENCE,
        "ratio": None if ratio is None else round(ratio, 4),
        "target": target if limit is None else limit,
        "holds": holds,
    }
