"""Bodies of the requests and answers of the page of marks; every text and number in them is bounded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hitl_ops.labels.progress_marks import MAX_MARKS, Mark
from ui_collect.annotate.messages import Seconds
from ui_collect.protocol import Message
from ui_collect.station.messages import EpisodeKey
from ui_collect.text_input import Key

PREFIX = "/api/marks"

CameraNumber = Annotated[int, Field(ge=0, le=63)]


# --- page → server --------------------------------------------------------------------------------------------


class MarksRequest(Message):
    """Body of ``POST labels``: all marks of an episode as they are now."""

    key: Key
    episode: EpisodeKey
    marks: list[Mark] = Field(max_length=MAX_MARKS)
    done: bool = Field(description="whether the episode was seen to its end")
    seconds: Seconds = Field(description="of attention this took")
    seen: int = Field(ge=0, description="the label that stood when it was said, as far as the page knew; 0: none")


# --- server → page --------------------------------------------------------------------------------------------


class PageAnswer(Message):
    """Answer of ``GET me``."""

    id: str
    name: str
    dataset: str = Field(description="the data set's name")
    fps: int
    stages: list[str] = Field(description="what each stage is called")


class MarksState(Message):
    """What is said of an episode's progress now."""

    label: int = Field(description="the label that stands; 0: nobody said anything")
    marks: list[Mark]
    done: bool
    by: str | None = Field(description="who said it")
    mine: bool
    stages: int = Field(description="stages it was marked with; another number than the page's is marked anew")


class EpisodeItem(MarksState):
    """An episode in the list."""

    key: str
    index: int
    task: str
    frames: int
    cameras: list[str]
    verdict: bool | None = Field(description="what a person said of it, where the data set notes it")
    success: bool | None = Field(description="the simulator's truth, where the data set notes it")
    looked_at_by: str | None = Field(description="somebody else who has it open now")


class ListAnswer(Message):
    """Answer of ``GET episodes``, in the data set's order."""

    episodes: list[EpisodeItem]


class MarksAnswer(MarksState):
    """Answer of ``POST labels``."""

    kept: int = Field(description="number of the label that was kept")
