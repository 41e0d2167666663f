"""How the label store refuses: each reason a type of its own, each with a line a person can read."""

from __future__ import annotations

from typing import Literal

from hitl_ops.contracts.errors import UserError

Refusal = Literal["unknown", "other_purpose", "revoked", "expired", "used_up"]

_REFUSALS: dict[Refusal, str] = {
    "unknown": "this invitation does not exist",
    "other_purpose": "this invitation is for something else",
    "revoked": "this invitation was taken back",
    "expired": "this invitation has expired",
    "used_up": "this invitation has been used by as many people as it was made for",
}


class LabelStoreUnavailable(UserError):
    """The database does not answer, is locked, or cannot be written: nothing was stored, try again."""


class InvitationRefused(UserError):
    """The invitation opens nothing.

    Args:
        reason: why.
    """

    def __init__(self, reason: Refusal) -> None:
        self.reason: Refusal = reason
        super().__init__(_REFUSALS[reason], "ask for a new one")


class UnknownRecord(UserError):
    """There is no row with this id.

    Args:
        noun: what was looked for ("session", "play").
        record_id: the id that was asked for.
    """

    def __init__(self, noun: str, record_id: str) -> None:
        self.noun, self.record_id = noun, record_id
        super().__init__(f"there is no {noun} {record_id!r}", "check the id")


class SessionEnded(UserError):
    """The session has ended and takes nothing more.

    Args:
        session_id: which one.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        super().__init__(f"session {session_id} has ended", "open a new invitation")


class PlayStillOpen(UserError):
    """The session is in the middle of another play.

    Args:
        play_id: the play that is not finished.
    """

    def __init__(self, play_id: str) -> None:
        self.play_id = play_id
        super().__init__(f"play {play_id} of this session is not finished", "resume or finish it first")


class PlayNotFinished(UserError):
    """The play is still open.

    Args:
        play_id: which one.
    """

    def __init__(self, play_id: str) -> None:
        self.play_id = play_id
        super().__init__(f"play {play_id} is not finished", "finish it first")


class LabelConflict(UserError):
    """The client key was used before, for something else.

    Args:
        client_key: the key.
        label_id: the label that holds it.
    """

    def __init__(self, client_key: str, label_id: int) -> None:
        self.client_key, self.label_id = client_key, label_id
        super().__init__(
            f"client key {client_key!r} already stands for label {label_id}, which says something else",
            "make a new key for a new label",
        )
