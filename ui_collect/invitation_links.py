"""The links that let people in, to play or to annotate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Purpose

PROGRAM = "planner"
_FIRST_USES: dict[Purpose, int] = {"play": 100, "annotate": 20}
_DAYS = 30
_PATHS: dict[Purpose, str] = {"play": "/join", "annotate": "/annotate"}


def invitation_link(base: str, token: str, purpose: Purpose = "play") -> str:
    """The link people open. The secret stands in the fragment, which browsers send to nobody."""
    return f"{base.rstrip('/')}{_PATHS[purpose]}#{token}"


def link_at_start(labels: LabelStore, iteration: int, base: str, purpose: Purpose, people: int | None) -> str | None:
    """The link of an invitation made when a server starts: one that was asked for, or an iteration's first.

    Args:
        labels: the label store.
        iteration: what people are invited to.
        base: how they reach the server.
        purpose: what for.
        people: how many, where an invitation was asked for.

    Returns:
        The link, and how many it is for; None where there is an invitation already and none was asked for.
    """
    if people is None and labels.invitations(PROGRAM, iteration, purpose):
        return None
    uses = people or _FIRST_USES[purpose]
    until = datetime.now(UTC) + timedelta(days=_DAYS)
    _, token = labels.create_invitation(PROGRAM, iteration, uses, until, purpose=purpose)
    return f"{invitation_link(base, token, purpose)}   ({uses} people, {_DAYS} days)"
