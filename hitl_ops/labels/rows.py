"""What the label store answers with: frozen rows, detached from the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["consent", "tutorial", "lobby", "episode", "feedback", "thanks", "ended"]
LabelKind = Literal["correction", "verdict", "preference", "progress", "feedback", "problem"]

STAGES: tuple[Stage, ...] = get_args(Stage)
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)
Purpose = Literal["play", "annotate"]
"""What an invitation lets people in for."""
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


class Row(BaseModel):
    """A row as it was when it was read. Times are UTC and carry their zone."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class Invitation(Row):
    """A link that lets people in, without its secret."""

    id: str
    program: str
    iteration: int
    max_uses: int = Field(description="how many people may come in by it")
    uses: int = Field(description="how many have")
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    purpose: Purpose = Field(description="whether it lets people in to play, or to annotate what was played")


class Annotator(Row):
    """A person who looks at plays afterwards and says what was wrong in them."""

    id: str
    invitation_id: str
    display_name: str = Field(description="what they want to be called by other annotators")
    program: str
    iteration: int
    created_at: datetime
    last_seen_at: datetime = Field(description="when the person was last known to be here")
    seconds_active: float = Field(description="seconds the person has spent looking, labelled or not")


class Participant(Row):
    """A person who came in by an invitation; known by no more than they told."""

    id: str
    invitation_id: str
    display_name: str = Field(description="what they want to be called; empty if they did not say")
    created_at: datetime
    consented_at: datetime | None
    tutorial_done_at: datetime | None


class SessionRow(Row):
    """A person's sitting."""

    id: str
    participant_id: str
    program: str
    iteration: int
    stage: Stage
    created_at: datetime
    last_seen_at: datetime = Field(description="when the person was last known to be connected")
    paused_at: datetime | None = Field(description="since when nobody is connected; null while somebody is")
    ended_at: datetime | None
    end_reason: str
    seconds_active: float = Field(description="seconds the person has spent acting")


class EpisodePlay(Row):
    """One attempt of one person at one episode."""

    id: str
    session_id: str
    episode_id: str
    attempt: int = Field(description="1 for the first attempt at this episode in this session")
    tutorial: bool = Field(description="for learning the keys: counted nowhere")
    started_at: datetime
    finished_at: datetime | None
    finish_id: int | None = Field(description="place among all finished plays, in the order they finished")
    percent_complete: float | None
    success: bool | None
    ended_by: str
    seconds: float | None = Field(description="seconds of play, pauses left out")
    record_file: str = Field(description="the closed record, relative to the iteration's sessions folder")
    state_hash: str
    reported: bool = Field(description="somebody reported a problem with it")
    withdrawn_at: datetime | None = Field(default=None, description="since when it counts nowhere; null: it counts")
    withdrawn_by: str | None = Field(default=None, description="who withdrew it")
    withdrawn_reason: str | None = Field(default=None, description="why, in their words")


class Label(Row):
    """What a person said about one thing. Never changed; a later label may take its place."""

    id: int = Field(description="grows in the order of acknowledgement")
    kind: LabelKind
    program: str
    iteration: int
    session_id: str | None
    episode_play_id: str | None
    decision_index: int | None
    target: str = Field(description="what the label is about")
    value: dict[str, Any]
    annotator: str
    seconds: float = Field(description="seconds of the person's time it took")
    client_key: str
    supersedes: int | None = Field(description="the label whose place this one takes")
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """What an invitation gave: a person, their session and the session's secret, which is told only here."""

    participant: Participant
    session: SessionRow
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnnotatorAdmission:
    """What an invitation to annotate gave: a person, and the secret they are known by, which is told only here."""

    annotator: Annotator
    token: str = field(repr=False)


class IterationFigures(Row):
    """What people gave to one iteration of one program. The tutorial counts nowhere."""

    program: str
    iteration: int
    sessions_by_stage: dict[Stage, int]
    sessions_paused: int = Field(description="not ended, and nobody is connected")
    plays_open: int
    plays_finished: int
    plays_successful: int
    plays_reported: int
    episodes_finished: int = Field(description="different episodes among the finished plays")
    episodes_successful: int = Field(description="different episodes with at least one success")
    human_seconds: float = Field(description="seconds of all sessions' people acting")
    label_seconds: float = Field(description="seconds all labels took")
    labels_by_kind: dict[LabelKind, int] = Field(description="labels that stand, superseded ones left out")

    @property
    def success_rate(self) -> float | None:
        """Successful plays among the finished ones; null before the first."""
        return self.plays_successful / self.plays_finished if self.plays_finished else None


class Overview(Row):
    """The store at a glance."""

    taken_at: datetime
    invitations: int
    participants: int
    iterations: list[IterationFigures] = Field(description="by program, then iteration")

    @property
    def sessions_by_stage(self) -> dict[Stage, int]:
        """Sessions of all iterations by stage."""
        return {
            stage: total
            for stage in STAGES
            if (total := sum(figures.sessions_by_stage.get(stage, 0) for figures in self.iterations))
        }
