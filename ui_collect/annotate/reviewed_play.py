"""A finished play as annotators see it: what it was about, every decision, and its film, made by playing its log again.

A film is keyframes one after the other (``ui_collect/keyframes.py``), each behind its length (u32, little endian):
first a full one, then what changed, ten times a second of play, with a full one every ten seconds to begin from. It
shows what either of the two agents knew of, because both are judged by what they knew.
"""

from __future__ import annotations

import struct
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.decision import Decision, Role
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.session_log import SessionLog, SessionLogHeader
from hitl_ops.rollouts.live_session import LiveSession
from hitl_ops.rollouts.partner_decisions import OVERRIDDEN, OVERRIDE
from hitl_ops.rollouts.session_frames import TICKS_PER_FRAME
from hitl_ops.rollouts.session_replay import ReplayedPlay, moments
from hitl_ops.samples.annotation_queue import doubt_of
from hitl_ops.worlds.household.tools import STEPS_PER_SECOND
from ui_collect.keyframes import KeyframeEncoder
from ui_collect.protocol import EpisodeMessage
from ui_collect.simulation.opening import what_a_page_draws

FULL_EVERY_S = 10
_FULL_EVERY_TICKS = FULL_EVERY_S * STEPS_PER_SECOND
_LENGTH = struct.Struct("<I")


class ShownDecision(BaseModel):
    """A decision as annotators see it, without what anybody says about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: int
    agent: int
    role: Role
    policy_id: str
    sim_step: int = Field(description="tick at which it was made")
    end_step: int = Field(description="tick at which its action ended")
    action: str
    response: str
    percent_complete: float
    admissible: list[str] = Field(description="what could be named; empty for a person's own decisions")
    uncertainty: float | None = Field(description="0 to 1: the policy's doubt of its own choice; null where unknown")
    overridden: bool = Field(description="a person decided otherwise and broke it off")
    can_be_marked: bool = Field(description="a policy made it; what a person did or ordered is not judged")


class ReviewedDecision(ShownDecision):
    """A decision with everything a correction is checked against."""

    prompt: str

    @classmethod
    def of(cls, decision: Decision) -> ReviewedDecision:
        """What annotators see of a logged decision."""
        ai = decision.role == "ai"
        return cls(
            index=decision.index,
            agent=decision.agent,
            role=decision.role,
            policy_id=decision.policy_id,
            sim_step=decision.sim_step,
            end_step=max(decision.sim_step, decision.end_step),
            action=decision.action,
            response=decision.response,
            percent_complete=decision.percent_complete,
            admissible=decision.admissible if ai else [],
            uncertainty=doubt_of(decision) if ai else None,
            overridden=decision.response == OVERRIDDEN,
            can_be_marked=ai and not decision.stats.get(OVERRIDE),
            prompt=decision.prompt,
        )


class ReviewedPlay(BaseModel):
    """A play as it is kept beside its film."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["flywheel-reviewed-play-1"] = "flywheel-reviewed-play-1"
    play_id: str
    episode: EpisodeMessage
    ticks: int
    ticks_per_second: int = STEPS_PER_SECOND
    decisions: list[ReviewedDecision]

    def decision(self, index: int) -> ReviewedDecision | None:
        """The decision with this index; None where there is none."""
        if 0 <= index < len(self.decisions) and self.decisions[index].index == index:
            return self.decisions[index]
        return next((decision for decision in self.decisions if decision.index == index), None)

    @property
    def judged(self) -> list[int]:
        """Indices of the decisions that are judged."""
        return [decision.index for decision in self.decisions if decision.can_be_marked]


def play_again(log: SessionLog) -> tuple[ReviewedPlay, bytes]:
    """Replay a finished play; takes as long as closing it (about a second for ten minutes of play).

    Args:
        log: the play's log.

    Returns:
        The play, and its film.

    Raises:
        UserError: the play is not over, or its replay ends otherwise than it did.
    """
    if log.finish is None:
        raise UserError(f"session log '{log.path}': the play is not over", "close it first")
    film: list[bytes] = []
    encoder: KeyframeEncoder | None = None
    for session in moments(log, TICKS_PER_FRAME):
        if encoder is None:
            encoder = KeyframeEncoder(session, known_to=(0, 1))
            episode = _episode(log.header, session)
        # A full frame for the first, which the encoder has nothing before.
        frame = encoder.full() if session.tick % _FULL_EVERY_TICKS == 0 else encoder.increment()
        if frame is not None:
            film += (_LENGTH.pack(len(frame)), frame)
    replayed = ReplayedPlay(log, session, session.digest())
    if replayed.difference is not None:
        raise UserError(
            f"session log '{log.path}' cannot be shown: replayed, {replayed.difference}",
            "look at it with the version that recorded it",
        )
    decisions = [ReviewedDecision.of(decision) for decision in session.decisions]
    play = ReviewedPlay(play_id=log.header.play_id, episode=episode, ticks=session.tick, decisions=decisions)
    return play, b"".join(film)


def _episode(header: SessionLogHeader, session: LiveSession) -> EpisodeMessage:
    drawn = what_a_page_draws(session).model_dump(exclude={"resumed", "seconds", "next_seq"})
    return EpisodeMessage(
        index=header.index,
        episode_number=1,
        of=1,
        attempt=header.attempt,
        attempts_allowed=header.attempt,
        tutorial=header.tutorial,
        resumed=False,
        next_seq=0,
        **drawn,
    )
