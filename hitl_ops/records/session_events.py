"""What happened in one person's play of an episode: the events that, in order, are the whole play.

Everything that is not a consequence of the world's own rules enters a play as one of these. An episode and its
ordered events therefore give the same world, the same decisions and the same score again, whenever and wherever
they are applied. Every field is bounded: an event that was accepted can always be stored, read and applied.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

FinishReason = Literal["person", "time", "idle", "skip", "aborted", "server"]
"""Who or what ended a play: the person said so, the clock, nobody at the keys, a skip, nobody came back, a defect."""

MOST_EVENTS = 10_000_000
LAST_TICK = 1_000_000
LAST_SEQ = 2**32 - 1
ACTION_LENGTH = 400
REPLY_LENGTH = 20_000

_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
ActionText = Annotated[str, Field(max_length=ACTION_LENGTH, pattern=_NO_CONTROL_CHARACTERS)]
"""An action as somebody wrote it; it need not be one."""
Unit = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
Seq = Annotated[int, Field(ge=0, le=LAST_SEQ)]


class _Event(BaseModel):
    """What every event has."""

    # A log-probability may be -inf, which JSON has no number for: written as a string, read back as a float.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    n: int = Field(ge=0, le=MOST_EVENTS, description="position among the play's events, from 0, without gaps")
    tick: int = Field(ge=0, le=LAST_TICK, description="the world's step at which it happened, before the next one")
    wall: float = Field(ge=0, le=1e11, allow_inf_nan=False, description="seconds since 1970; never used by the world")


class ControlEvent(_Event):
    """The person's hold on the keys has changed; it stays until the next such event."""

    kind: Literal["control"] = "control"
    seq: Seq = Field(description="the client's counter; a repeated or older one changes nothing")
    forward: Unit = Field(default=0.0, description="along the facing direction")
    strafe: Unit = Field(default=0.0, description="to the right")
    turn: Unit = Field(default=0.0, description="to the left")


class ActEvent(_Event):
    """The person begins an action."""

    kind: Literal["act"] = "act"
    seq: Seq = Field(description="the client's counter; a repeated or older one changes nothing")
    action: ActionText = Field(description="Tool[args]; what cannot be carried out is answered by the world")


class DecisionEvent(_Event):
    """The partner's policy has replied."""

    kind: Literal["decision"] = "decision"
    action: ActionText = Field(description="the action chosen, as Tool[args]")
    reply: str = Field(default="", max_length=REPLY_LENGTH, description="the policy's raw reply")
    policy_id: str = Field(max_length=200, description="the policy that replied")
    latency_ms: float = Field(default=0.0, ge=0, le=1e9, allow_inf_nan=False, description="time it took to choose")
    stats: dict[Annotated[str, Field(max_length=64)], float] = Field(
        default_factory=dict, max_length=64, description="policy statistics: logprob, entropy, tries, tokens"
    )
    asked_tick: int = Field(ge=0, le=LAST_TICK, description="the step of the observation it replies to")


class OverrideEvent(_Event):
    """Somebody decides for the partner, in place of its policy."""

    kind: Literal["override"] = "override"
    seq: Seq = Field(description="the client's counter; a repeated or older one changes nothing")
    action: ActionText = Field(description="what the partner is to do instead, as Tool[args]")
    decision_index: int = Field(
        default=-1, ge=-1, le=MOST_EVENTS, description="the partner's last decision the person saw; -1: none yet"
    )
    by: str = Field(default="", max_length=64, pattern=_NO_CONTROL_CHARACTERS, description="who decided")


class MarkEvent(_Event):
    """The world has come this far: written once a second, so that a crash loses less than that."""

    kind: Literal["mark"] = "mark"


class PauseEvent(_Event):
    """The world stands still from here on; the keys are let go."""

    kind: Literal["pause"] = "pause"
    reason: str = Field(default="", max_length=64, pattern=_NO_CONTROL_CHARACTERS, description="why, for the record")


class ResumeEvent(_Event):
    """The world goes on."""

    kind: Literal["resume"] = "resume"


class FinishEvent(_Event):
    """The play has ended; always the last event."""

    kind: Literal["finish"] = "finish"
    reason: FinishReason
    success: bool = Field(description="whether the task is complete")
    percent_complete: float = Field(ge=0, le=1, allow_inf_nan=False)
    state_hash: str = Field(max_length=64, pattern="^[0-9a-f]*$", description="hash of the world's final state")


SessionEvent = Annotated[
    ControlEvent | ActEvent | DecisionEvent | OverrideEvent | MarkEvent | PauseEvent | ResumeEvent | FinishEvent,
    Field(discriminator="kind"),
]
SESSION_EVENT: TypeAdapter[SessionEvent] = TypeAdapter(SessionEvent)
"""Reads an event of any kind: ``SESSION_EVENT.validate_json(line)``."""

URGENT_KINDS = frozenset({"act", "decision", "override", "pause", "finish"})
"""Events that are made durable at once; the others within a quarter of a second."""
