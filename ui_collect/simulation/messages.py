"""What web server and simulation workers say to each other, over a socket inside the server's own folder.

Web server → worker: one map per message, told apart by ``op``; every field is checked again here, so that a mistake
in the web server ends as a line in a log and not as a broken play. Worker → web server: once a tick one list of
``[play_id, kind, payload]``; ``frame`` payloads are keyframes ready to be forwarded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from hitl_ops.records.session_events import ActionText, Unit

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""An id as the server makes it; folder names are made of nothing else."""
IterationKey = Annotated[str, StringConstraints(pattern=r"^\d{3,6}$")]
Sequence = Annotated[int, Field(ge=0, le=2**31 - 1)]

Participant = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
"""A made-up id, never a name."""
PartnerKind = Literal["policy", "oracle", "none"]
"""policy: the inference process; oracle: the scripted partner that knows the task; none: it stands still."""
CloseReason = Literal["time", "idle", "aborted", "server"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenPlay(_Message):
    """Begin a play, or go on with it from its log."""

    op: Literal["open"] = "open"
    play_id: Id
    session_id: Id
    program: Literal["planner"] = "planner"
    iteration: IterationKey
    episode: dict[str, Any] = Field(description="the complete Episode as plain JSON")
    attempt: int = Field(ge=1, le=100)
    participant: Participant = ""
    human: Literal[0, 1] = 0
    partner: PartnerKind = "policy"
    style: Literal["incremental", "snapshot"] = "incremental"
    decision_limit: int = Field(default=50, ge=0, le=100_000, description="decisions of the partner")
    index: int = Field(default=0, ge=0, le=100_000, description="position among the session's plays, from 0")
    tutorial: bool = Field(default=False, description="played to learn the keys; never training data")
    resume: bool = Field(default=False, description="go on from the log where there is one")


class Input(_Message):
    """What the person's hands hold down from the next tick on."""

    op: Literal["input"] = "input"
    play_id: Id
    seq: Sequence
    forward: Unit = 0.0
    strafe: Unit = 0.0
    turn: Unit = 0.0


class Act(_Message):
    """The person does something, as ``Tool[args]``."""

    op: Literal["act"] = "act"
    play_id: Id
    seq: Sequence
    action: ActionText


class Override(_Message):
    """The person puts an action in place of the partner's."""

    op: Literal["override"] = "override"
    play_id: Id
    seq: Sequence
    decision: int = Field(ge=0, le=100_000)
    action: ActionText
    by: Participant = Field(default="", description="who overrides")


class Skip(_Message):
    """The person gives the task up."""

    op: Literal["skip"] = "skip"
    play_id: Id
    seq: Sequence


class Finish(_Message):
    """The person is done."""

    op: Literal["finish"] = "finish"
    play_id: Id
    seq: Sequence


class Join(_Message):
    """Somebody looks on from here: a paused play goes on, and a full keyframe is sent."""

    op: Literal["join"] = "join"
    play_id: Id


class Leave(_Message):
    """Nobody looks on: the world stands still until the next join."""

    op: Literal["leave"] = "leave"
    play_id: Id


class Close(_Message):
    """End the play from outside."""

    op: Literal["close"] = "close"
    play_id: Id
    reason: CloseReason


class EndSession(_Message):
    """A session is over: once its plays are closed, its own file is to be written."""

    op: Literal["end_session"] = "end_session"
    session_id: Id
    program: Literal["planner"] = "planner"
    iteration: IterationKey
    error: str = Field(default="", max_length=400, description="what went wrong, where something did")


class ClosePlayRecord(_Message):
    """To the process that keeps records: a play's log is finished; write its files."""

    op: Literal["close_record"] = "close_record"
    play_id: Id
    session_id: Id
    program: Literal["planner"] = "planner"
    iteration: IterationKey


class Stop(_Message):
    """Pause everything, make it durable and end the process."""

    op: Literal["stop"] = "stop"


ClientOp = Input | Act | Override | Skip | Finish
WorkerMessage = Annotated[
    OpenPlay | Input | Act | Override | Skip | Finish | Join | Leave | Close | Stop, Field(discriminator="op")
]
WORKER_MESSAGES: TypeAdapter[WorkerMessage] = TypeAdapter(WorkerMessage)
RecordMessage = Annotated[ClosePlayRecord | EndSession | Stop, Field(discriminator="op")]
RECORD_MESSAGES: TypeAdapter[RecordMessage] = TypeAdapter(RecordMessage)

EventKind = Literal[
    "opened",
    "frame",
    "partner",
    "missing",
    "answer",
    "saved",
    "over",
    "closed",
    "session_closed",
    "error",
    "stats",
]


class PlayEvent(NamedTuple):
    """One thing that happened in a play.

    Attributes:
        play_id: the play; empty for ``stats``.
        kind: tells the payload:

            - ``opened``: see :class:`Opened`; comes again where a worker was started anew: the play then stands
              still until the next join.
            - ``frame``: a keyframe, bytes.
            - ``partner``: ``{status, action, response, decision}``.
            - ``missing``: ``{lines}``.
            - ``answer``: ``{seq, action, response}``.
            - ``saved``: ``{seq, n}``; everything up to it is on disk.
            - ``over``: see :class:`Over`; nothing more comes of this play but ``saved`` and ``closed``.
            - ``closed``: ``{record, error}``: the play's record in PARTNR's form is published; ``record`` is its path
              below the iteration's folder, ``error`` a line where that failed; the log is then still there.
            - ``session_closed``: ``{record, error}`` likewise of ``session.json.gz``; ``play_id`` is the session's id.
            - ``error``: ``{code, message}``; ``code`` is one of :data:`ErrorCode`.
            - ``stats``: :class:`WorkerStats`.
        payload: plain data.
    """

    play_id: str
    kind: EventKind
    payload: Any


ErrorCode = Literal["storage_full", "cannot_open", "unknown_decision", "bad_message", "broken"]
"""``cannot_open`` and ``broken``: nothing more comes of this play."""


class Opened(_Message):
    """A play is ready to be joined. What the page needs to draw it; indices in keyframes count along these lists."""

    instruction: str
    scene: dict[str, Any]
    shapes: dict[str, dict[str, Any]]
    objects: list[str]
    furniture: list[str]
    doors: list[str]
    abilities: list[list[str]]
    human: int
    reach_m: float
    policy: str = Field(description="the partner's policy id; '' while none is known")
    next_seq: int
    resumed: bool
    seconds: float = Field(description="played so far")


class Over(_Message):
    """How a play ended."""

    reason: str = Field(description="person, task, skip, time, idle, aborted, server")
    success: bool
    percent_complete: float
    missing: list[str]
    state_hash: str
    ticks: int
    seconds: float
    log: str = Field(description="the play's log, path below the iteration's folder")
    corrections: list[dict[str, Any]] = Field(
        default_factory=list,
        description="what the person decided for the partner (ui_collect.corrections.corrections_of)",
    )


class WorkerStats(_Message):
    """How a worker does; over the last second where nothing else is said."""

    plays: int = Field(description="plays open, paused ones included")
    running: int = Field(description="plays whose world moves")
    ticks: int = Field(description="ticks since the start")
    slipped: int = Field(description="ticks given up since the start because the worker was too late")
    late_ms_p50: float = Field(description="how late ticks began")
    late_ms_p99: float
    late_ms_max: float
    busy: float = Field(description="share of the time spent working")
    waiting: int = Field(description="partners' decisions asked for and not answered yet")
    away: bool = Field(description="the inference process cannot be reached, or has no policy")
    refusal: str = Field(description="why it last did not decide; empty while it does")
    memory_mb: float
