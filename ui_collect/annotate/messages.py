"""Bodies of the annotation page's requests and answers; every text and number in them is bounded."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ui_collect.annotate.reviewed_play import ShownDecision
from ui_collect.protocol import EpisodeMessage, Message
from ui_collect.text_input import Argument, FreeText, Key, Token, ToolName, refuse_control

PREFIX = "/api/annotate"
SECONDS_AT_MOST = 24 * 3600.0

PlayId = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80), AfterValidator(refuse_control)
]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_AT_MOST, allow_inf_nan=False)]
Filter = Literal["all", "failed", "chosen"]
PlayState = Literal["open", "taken", "reviewed_by_me", "reviewed"]
ReviewStatus = Literal["finished", "skipped"]

BEARER = re.compile(r"(?i)bearer +([A-Za-z0-9_-]{20,128})")


# --- page → server --------------------------------------------------------------------------------------------


class JoinRequest(Message):
    """Body of ``POST join``."""

    token: Token = Field(description="from the fragment of the invitation link")
    name: Name = Field(description="what other annotators are to call one")


class Alive(Message):
    """Body of ``POST plays/{play}/alive``."""

    seconds: float = Field(ge=0, le=3600, allow_inf_nan=False, description="of attention since the last one")


class MarkRequest(Message):
    """Body of ``POST labels``: a decision was wrong, and this would have been right; or take that back."""

    key: Key
    play: PlayId
    decision: int = Field(ge=0, le=100_000)
    verdict: Literal["error", "withdrawn"]
    tool: ToolName | Literal[""] = Field(default="", description="of the right action; empty when withdrawn")
    args: list[Argument] = Field(default_factory=list, max_length=5)
    reason: FreeText = ""
    seconds: Seconds = Field(description="of attention this took")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.verdict == "error") != bool(self.tool) or (self.args and not self.tool):
            raise ValueError("an error names the right action, what is withdrawn names none")
        return self


class ReviewRequest(Message):
    """Body of ``POST reviews``: one is through with a play."""

    key: Key
    play: PlayId
    status: ReviewStatus
    seconds: Seconds = Field(description="of attention that no mark has counted yet")


class FinishRequest(Message):
    """Body of ``POST iteration/finished``: the iteration's annotation is closed."""

    key: Key


# --- server → page --------------------------------------------------------------------------------------------


class JoinAnswer(Message):
    """Answer of ``POST join``: keep the token."""

    token: str
    annotator: str = Field(description="id")
    name: str
    program: str
    iteration: int


class QueueItem(Message):
    """A play in the queue."""

    play: str
    episode_id: str
    instruction: str
    success: bool
    percent_complete: float
    value: float = Field(description="what correcting it promises, 0 to 1; the queue is ordered by it")
    reasons: list[str]
    look_at: list[int] = Field(description="indices of decisions worth a look, most promising first")
    state: PlayState
    by: str | None = Field(description="who has it open now")
    mine: bool = Field(description="it is oneself who has it open")
    my_review: ReviewStatus | None
    reviews: int = Field(description="annotators who have finished it")
    corrections: int = Field(description="decisions that somebody marks as an error")


class QueueAnswer(Message):
    """Answer of ``GET queue``."""

    items: list[QueueItem]
    iteration: int
    finished: bool = Field(description="the iteration's annotation was closed by hand")


class OpenAnswer(Message):
    """Answer of ``POST plays/{play}/open`` and ``…/alive``."""

    play: str
    taken_by: str | None = Field(description="somebody else who has it open; one may go on all the same")
    lease_s: float = Field(description="seconds until it is free again without a sign")


class Mark(Message):
    """What somebody says about a decision."""

    verdict: Literal["error"] = "error"
    corrected: str
    reason: str


class OthersMark(Mark):
    """What another annotator says about it."""

    annotator: str = Field(description="what they are called")


class PlayDecision(ShownDecision):
    """A decision with what people say about it."""

    worth_a_look: bool
    mine: Mark | None
    others: list[OthersMark]


class Review(Message):
    """Somebody is through with a play."""

    status: ReviewStatus
    errors: int = Field(description="decisions they had marked then")


class OthersReview(Review):
    """Another annotator is."""

    annotator: str


class Reviews(Message):
    """Everybody who is through with a play."""

    mine: Review | None
    others: list[OthersReview]


class PlayAnswer(Message):
    """Answer of ``GET plays/{play}``."""

    episode: EpisodeMessage
    ticks: int
    ticks_per_second: int
    decisions: list[PlayDecision]
    review: Reviews
    agreement: float | None = Field(description="share of judgements alike, of those who finished; null below two")
    taken_by: str | None


class PromptAnswer(Message):
    """Answer of ``GET plays/{play}/decisions/{index}/prompt``."""

    prompt: str


class MarkAnswer(Message):
    """Answer of ``POST labels``: it is stored, and this is what stands now."""

    label_id: int
    decision: int
    mine: Mark | None
    others: list[OthersMark]
    corrections: int = Field(description="decisions of this play that one has marked")


class ReviewAnswer(Message):
    """Answer of ``POST reviews``."""

    label_id: int
    mine: Review


class FinishAnswer(Message):
    """Answer of ``POST iteration/finished``."""

    label_id: int
    finished: Literal[True] = True


class Figures(Message):
    """Answer of ``GET figures``: how far an iteration's annotation is."""

    reviewed: int = Field(description="plays that somebody is through with")
    queued: int
    corrections: int = Field(description="decisions that somebody marks as an error")
    seconds: float = Field(description="of all annotators' and players' attention, as their labels say")
    agreement: float | None
    kappa: float | None = Field(description="Cohen's kappa of what is marked")
    target: int = Field(description="plays to be reviewed; 0 where none is set")
    my_reviewed: int
    my_corrections: int
    my_seconds: float
    annotators: int
    finished: bool
