"""The links that let people in, to play or to annotate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import Purpose

PROGRAM = "planner"
_FIRST_USES: dict[Purpose, int] = {"play": 100, "annotate": 20}
_DAYS = 30
_PATHS: dict[Purpose, str] = {"play": "/join", "annotate": "/annotate"}
_OF_PROGRAMS = {"station": "/verdicts", "advantage": "/marks", "preference": "/compare"}


def invitation_link(base: str, token: str, purpose: Purpose = "play", program: str = PROGRAM) -> str:
    """The link people open. The secret stands in the fragment, which browsers send to nobody."""
    path = _PATHS[purpose] if program == PROGRAM else _OF_PROGRAMS[program]
    return f"{base.rstrip('/')}{path}#{token}"


def link_at_start(
    labels: LabelStore, iteration: int, base: str, purpose: Purpose, people: int | None, program: str = PROGRAM
) -> str | None:
    """The link of an invitation made when a server starts: one that was asked for, or an iteration's first.

    Args:
        labels: the label store.
        iteration: what people are invited to.
        base: how they reach the server.
        purpose: what for.
        people: how many, where an invitation was asked for.
        program: whose page it opens.

    Returns:
        The link, and how many it is for; None where there is an invitation already and none was asked for.
    """
    if people is None and labels.invitations(program, iteration, purpose):
        return None
    uses = people or _FIRST_USES[purpose]
    until = datetime.now(UTC) + timedelta(days=_DAYS)
    _, token = labels.create_invitation(program, iteration, uses, until, purpose=purpose)
    return f"{invitation_link(base, token, purpose, program)}   ({uses} people, {_DAYS} days)"
