"""The wire protocol between page and server: every text message in both directions, version 1.

One WebSocket at ``WEBSOCKET_PATH``, subprotocol ``SUBPROTOCOL``. Client → server: JSON text of at most
``MESSAGE_BYTES`` bytes (UTF-8), told apart by ``type``. Server → client: JSON text likewise told apart by ``type``,
and binary keyframes (``ui_collect/keyframes.py``).

The order of things: ``hello`` → ``welcome`` → ``stage``. The stage says what the person does now; the page shows that
stage and answers with the message that leaves it:

========== ============================================= ==================================================
stage      sent by the server on entering or re-joining  left by
========== ============================================= ==================================================
consent    stage                                         ``consent``
tutorial   stage, episode, keyframes                     ``tutorial_done`` (any time), or solving it
lobby      stage with ``position``                       a place becoming free; before it, ``ready``
episode    stage, episode, keyframes                     ``finish``, ``skip``, the task's end, idling
feedback   stage with ``result``                         ``feedback``, then ``ready`` (``again`` to retry)
thanks     stage with ``totals``                         nothing: the session is over
ended      stage with ``message``                        nothing: closed by the server (idle, invitation over)
========== ============================================= ==================================================

``stage=lobby`` with ``position: null`` asks "ready?": a place is there, and ``ready`` takes it.
``end`` leaves any stage for ``thanks``.

Sequence numbers: ``seq`` rises strictly within one play; the ``episode`` message says where to go on
(``next_seq``), also after a reload. A repeated or older number is ignored, so sending again is harmless; a gap is fine.
``saved`` names the highest ``seq`` that is on disk.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hitl_ops.worlds.household.scene_description import ObjectShape, SceneDescription
from ui_collect.text_input import Argument, FreeText, Key, Token, ToolName

PROTOCOL = 1
SUBPROTOCOL = "flywheel-collect-1"
WEBSOCKET_PATH = "/ws/collect"
MESSAGE_BYTES = 4096
"""Largest message a client may send; a longer one closes the connection with 1009."""

# Close codes beyond the standard ones (1000 done, 1001 server stops, 1008 rule broken, 1009 too big, 1003 binary).
CLOSED_TAKEN_OVER = 4001
"""A newer connection of the same session has taken over: don't reconnect."""
CLOSED_BAD_TOKEN = 4003
"""The session token is unknown: forget it, don't reconnect."""
CLOSED_NO_HELLO = 4008
"""``hello`` did not come within 5 seconds."""
CLOSED_ENDED = 4010
"""The session is over: don't reconnect."""

Stage = Literal["consent", "tutorial", "lobby", "episode", "feedback", "thanks", "ended"]
Sequence = Annotated[int, Field(ge=0, le=2**31 - 1)]
Axis = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Message(BaseModel):
    """What every message has in common: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- client → server ------------------------------------------------------------------------------------------


class Hello(Message):
    """First message of every connection.

    ``{"type": "hello", "token": "kq…", "protocol": 1}``
    """

    type: Literal["hello"] = "hello"
    token: Token = Field(description="the session token that POST /api/join gave")
    protocol: int = Field(ge=0, le=1000)


class Consent(Message):
    """The person agrees to take part. ``{"type": "consent"}``."""

    type: Literal["consent"] = "consent"


class TutorialDone(Message):
    """The person has seen enough of the tutorial. ``{"type": "tutorial_done"}``."""

    type: Literal["tutorial_done"] = "tutorial_done"


class Ready(Message):
    """Lobby → episode, or feedback → the same task again or the next one. ``{"type": "ready", "again": true}``."""

    type: Literal["ready"] = "ready"
    again: bool = Field(default=False, description="feedback only: try the same task again, while attempts are left")


class Input(Message):
    """What the person's hands hold down now; sent when it changes, not per tick.

    ``{"type": "input", "seq": 7, "forward": 1, "strafe": 0, "turn": 0}``
    """

    type: Literal["input"] = "input"
    seq: Sequence
    forward: Axis = Field(description="1 ahead, -1 back")
    strafe: Axis = Field(description="1 right, -1 left")
    turn: Axis = Field(description="1 left, -1 right")


class Act(Message):
    """Do something: Pick, Place, Open, Close, Navigate, …

    ``{"type": "act", "seq": 8, "tool": "Place", "args": ["mug_1", "on", "table_2", "None", "None"]}``
    """

    type: Literal["act"] = "act"
    seq: Sequence
    tool: ToolName
    args: list[Argument] = Field(default_factory=list, max_length=5)


class Override(Message):
    """Put another action in place of the partner's.

    ``{"type": "override", "seq": 9, "decision": 4, "tool": "Pick", "args": ["mug_1"]}``
    """

    type: Literal["override"] = "override"
    seq: Sequence
    decision: int = Field(ge=0, le=100_000, description="index of the partner's decision, as ``partner`` named it")
    tool: ToolName
    args: list[Argument] = Field(default_factory=list, max_length=5)


class Skip(Message):
    """Give this task up (Esc). ``{"type": "skip", "seq": 10}``."""

    type: Literal["skip"] = "skip"
    seq: Sequence


class Finish(Message):
    """I am done. ``{"type": "finish", "seq": 11}``."""

    type: Literal["finish"] = "finish"
    seq: Sequence


class Feedback(Message):
    """What the person says about the play that has just ended; may be sent again with the same key.

    ``{"type": "feedback", "key": "f-3b1c9a20", "success": false, "missing": "The mug was nowhere.", "problem": ""}``
    """

    type: Literal["feedback"] = "feedback"
    key: Key
    success: bool | None = Field(default=None, description="whether the person thinks the task was done")
    missing: FreeText = Field(default="", description="what was missing, in their words")
    problem: FreeText = Field(default="", description="something is broken, in their words")


class End(Message):
    """I want to stop for today. ``{"type": "end"}``."""

    type: Literal["end"] = "end"


class Ping(Message):
    """Asks for a ``pong``, to measure the latency. ``{"type": "ping", "t": 123456.7}``."""

    type: Literal["ping"] = "ping"
    t: float = Field(ge=-1e15, le=1e15, allow_inf_nan=False, description="the client's own clock, sent back unchanged")


ClientMessage = Annotated[
    Hello | Consent | TutorialDone | Ready | Input | Act | Override | Skip | Finish | Feedback | End | Ping,
    Field(discriminator="type"),
]
CLIENT_MESSAGES: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


# --- server → client ------------------------------------------------------------------------------------------


class Welcome(Message):
    """The token is good. ``{"type": "welcome", "protocol": 1, "server_time": 1760000000.0}``."""

    type: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    server_time: float = Field(description="unix seconds")


class PlayResult(Message):
    """How a play went, for the feedback page."""

    episode_number: int = Field(description="counts from 1 within the session")
    instruction: str
    success: bool
    percent_complete: float = Field(ge=0, le=1)
    missing: list[str] = Field(description="what was missing, one line each; empty on success")
    ended_by: str = Field(description="person, task, skip, time, idle, aborted or server")
    attempt: int = Field(description="which attempt this was, from 1")
    attempts_left: int = Field(description="how often the same task may be tried again; 0 after success")
    feedback_given: bool = Field(default=False, description="feedback on this play is already stored")


class Totals(Message):
    """What a session came to, for the last page."""

    episodes: int
    successes: int
    minutes: float


class StageMessage(Message):
    """What the person does now. ``{"type": "stage", "stage": "lobby", "position": 2}``; null fields are left out."""

    type: Literal["stage"] = "stage"
    stage: Stage
    position: int | None = Field(default=None, description="lobby: place in the queue, from 1; null: press ready")
    message: str | None = Field(default=None, description="a line to show, e.g. why a play or the session ended")
    result: PlayResult | None = Field(default=None, description="feedback: how it went")
    totals: Totals | None = Field(default=None, description="thanks and ended")


class EpisodeMessage(Message):
    """Everything the page needs to draw and play one task; a full keyframe follows.

    Indices in keyframes count along ``objects``, ``furniture`` and ``doors``; rooms along ``scene.rooms``.
    """

    type: Literal["episode"] = "episode"
    index: int = Field(description="number of this play within the session, from 0; a new one means a new play")
    episode_number: int = Field(description="counts tasks, not attempts, from 1; 0 for the tutorial")
    of: int = Field(description="tasks a session has at most; 0: no fixed number")
    attempt: int = Field(description="from 1")
    attempts_allowed: int
    tutorial: bool
    resumed: bool = Field(description="a reload or reconnect: the play goes on")
    next_seq: int = Field(description="the first seq the client may use")
    instruction: str
    scene: SceneDescription
    shapes: dict[str, ObjectShape] = Field(description="object kind → shape; the kind is the name without _number")
    objects: list[str]
    furniture: list[str]
    doors: list[str]
    abilities: list[list[str]] = Field(description="tools of agent 0 and agent 1")
    human: int = Field(description="the person's agent: 0 or 1; the partner is the other")
    reach_m: float
    policy: str = Field(description="the partner's policy id; '' where there is no partner")


class PartnerMessage(Message):
    """What the partner does.

    ``{"type": "partner", "status": "acting", "action": "Pick[mug_1]", "response": "", "decision": 4}``
    """

    type: Literal["partner"] = "partner"
    status: Literal["thinking", "acting", "done", "away"] = Field(
        description="thinking: deciding; acting: carrying ``action`` out; done: it has ended (``response``), or the "
        "partner thinks nothing is left to do (``action`` Done[]); away: there is none, or it cannot be reached"
    )
    action: str = ""
    response: str = ""
    decision: int | None = Field(default=None, description="its index, for ``override``")


class MissingMessage(Message):
    """What is still missing for the task, one line each. ``{"type": "missing", "lines": ["The mug is not …"]}``."""

    type: Literal["missing"] = "missing"
    lines: list[str]


class AnswerMessage(Message):
    """The world's answer to an act or override of mine.

    ``{"type": "answer", "seq": 8, "action": "Pick[mug_1]", "response": "Successful execution!"}``
    """

    type: Literal["answer"] = "answer"
    seq: int
    action: str
    response: str


class SavedMessage(Message):
    """Everything up to ``seq`` is on disk. ``{"type": "saved", "seq": 8, "n": 131}``."""

    type: Literal["saved"] = "saved"
    seq: int = Field(description="highest seq of this play that is durable")
    n: int = Field(description="highest event number of the play's log that is durable")


class FeedbackSavedMessage(Message):
    """The feedback with this key is stored. ``{"type": "feedback_saved", "key": "f-3b1c9a20"}``."""

    type: Literal["feedback_saved"] = "feedback_saved"
    key: str


class IdleMessage(Message):
    """Nothing came for a while; anything the person does takes the warning back (``seconds_left: null``)."""

    type: Literal["idle"] = "idle"
    seconds_left: int | None = None


class Pong(Message):
    """Answer to ``ping``. ``{"type": "pong", "t": 123456.7}``."""

    type: Literal["pong"] = "pong"
    t: float


ErrorCode = Literal[
    "bad_message",
    "bad_token",
    "binary_not_accepted",
    "ended",
    "expected_hello",
    "invitation_used_up",
    "no_episodes",
    "not_now",
    "protocol_version",
    "server_error",
    "storage_full",
    "taken_over",
    "too_fast",
    "too_many",
    "unknown_decision",
    "worker_restarted",
]


class ErrorMessage(Message):
    """Something was refused. The connection stays open unless a close follows.

    ``{"type": "error", "code": "not_now", "message": "There is no play to act in."}``
    """

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str = Field(description="one line a person can read; never echoes what was sent")


ServerMessage = Annotated[
    Welcome
    | StageMessage
    | EpisodeMessage
    | PartnerMessage
    | MissingMessage
    | AnswerMessage
    | SavedMessage
    | FeedbackSavedMessage
    | IdleMessage
    | Pong
    | ErrorMessage,
    Field(discriminator="type"),
]
SERVER_MESSAGES: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


def to_wire(message: Message) -> str:
    """A server message as JSON text; fields that are null are left out."""
    return message.model_dump_json(exclude_none=True)
