"""Bodies of the compare page's requests and answers; every text and number in them is bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hitl_ops.contracts.preference import CHOICES, CLIP_ID, Choice
from ui_collect.annotate.messages import Seconds
from ui_collect.protocol import Message
from ui_collect.text_input import Key

PREFIX = "/api/compare"
HELD_AT_MOST = 24

PairName = Annotated[str, StringConstraints(pattern=CLIP_ID)]
ContentHash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Stamp = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]

Standing = Literal["asking", "no_clips", "unreadable", "no_pairs", "left_out", "others", "done"]
"""Where asking stands: there is something to ask; there is no set; it cannot be read; it has no pairs; none of them can
be shown; other people have the last ones; there is nothing left for this person."""


class Shown(Message):
    """A pair as it is shown to somebody. Clips go by what is in them: a name tells which attempt it was."""

    iteration: int = Field(ge=0, le=999_999)
    pair: PairName
    left_hash: ContentHash
    right_hash: ContentHash
    repeat: bool

    @property
    def question(self) -> tuple[str, bool]:
        """Tells it from the same person's other questions."""
        return self.pair, self.repeat


# --- page → server --------------------------------------------------------------------------------------------


class QuestionsRequest(Message):
    """Body of ``POST questions``: what somebody has in front of them, and how much more they want."""

    held: list[Shown] = Field(
        max_length=HELD_AT_MOST, description="what they have, and what they said and is on its way"
    )
    count: int = Field(ge=0, le=8, description="further questions wanted")
    seconds: float = Field(ge=0, le=3600, allow_inf_nan=False, description="of attention since the last request")


class ChoiceRequest(Shown):
    """Body of ``POST labels``."""

    key: Key
    choice: Choice | None = Field(description="null takes back what was said before")
    seconds: Seconds = Field(description="of attention this took")


# --- server → page --------------------------------------------------------------------------------------------


class PageAnswer(Message):
    """Answer of ``GET me``."""

    id: str
    name: str
    program: str


class QuestionItem(Shown):
    """A question, and where its films are."""

    task: str
    left_film: str
    right_film: str


class ProgressItem(Message):
    """How far the clips that are served have come."""

    iteration: int
    answers: int = Field(description="by everybody")
    wanted: int = Field(description="answers that are wanted in all")
    mine: int


class QuestionsAnswer(Message):
    """Answer of ``POST questions``."""

    standing: Standing
    questions: list[QuestionItem]
    gone: list[Shown] = Field(description="of those held: what was replaced meanwhile, and is not asked any more")
    progress: ProgressItem | None = Field(description="null where there are no clips")
    left_out: list[str] = Field(description="why pairs are left out, one line each")


class ChoiceAnswer(Message):
    """Answer of ``POST labels``."""

    kept: int = Field(description="number of the label that was kept")
    progress: ProgressItem | None


class PersonItem(Message):
    """How somebody answers."""

    name: str
    mine: bool
    answers: int
    shares: dict[str, float] = Field(description=f"of all answers, by choice: {', '.join(CHOICES)}")
    seconds_per_answer: float
    repeats: int
    repeats_alike: int
    with_others: int = Field(description="answers to pairs that somebody else has answered too")
    with_others_alike: int
    one_sided: bool = Field(description="they say the same side more often than chance would, and do not mean the clip")


class OverviewAnswer(Message):
    """Answer of ``GET overview``: who answers most comes first."""

    people: list[PersonItem]
