"""What people say about how far an episode has come: at this frame this stage of the task is reached, or lost again.

Kept as values of labels of kind ``progress`` in program ``advantage``. A label holds every mark of one episode as they
stand, so that a later one takes the place of an earlier one whole, and a mark is undone by saying the rest again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.station_verdicts import episode_key

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog
    from hitl_ops.labels.rows import Label

PROGRAM = "advantage"
MAX_STAGES = 9
"""A stage is said by one key."""
MAX_MARKS = 200
"""In one episode."""
_PREFIX = "progress/"


class Mark(BaseModel):
    """A person says: here a stage of the task is reached, or, once it was reached, lost again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame: int = Field(ge=0, description="from 0; the first frame of which it is true")
    stage: int = Field(ge=1, le=MAX_STAGES, description="from 1 to the number of stages")
    lost: bool = Field(default=False, description="whether the stage is lost here rather than reached")


class EpisodeMarks(BaseModel):
    """Every mark of one episode (target ``progress/<episode>``); none, once done, says that nothing was reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    origin: Literal["marks"] = "marks"
    episode_id: str = Field(min_length=1, max_length=1000, description="the recording's own id, or its content's hash")
    length: int = Field(ge=1, description="frames of the episode, T")
    stages: int = Field(ge=1, le=MAX_STAGES, description="how many stages the task has, K")
    marks: tuple[Mark, ...] = Field(default=(), max_length=MAX_MARKS)
    done: bool = Field(default=True, description="whether the person has seen it to its end; begun otherwise")


def marks_target(episode_id: str) -> str:
    """The target of a label that says how far an episode came."""
    return f"{_PREFIX}{episode_key(episode_id)}"


def episode_marks(label: Label) -> EpisodeMarks | None:
    """What a label says of an episode's progress; None where it says something else."""
    if not label.target.startswith(_PREFIX):
        return None
    try:
        return EpisodeMarks.model_validate(label.value)
    except ValidationError:
        return None


def standing_marks(labels: LabelLog) -> dict[str, tuple[Label, EpisodeMarks]]:
    """The last label on each episode's progress, by episode id.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    found = ((label, episode_marks(label)) for label in labels.labels("progress", program=PROGRAM))
    return {said.episode_id: (label, said) for label, said in found if said is not None}


def say_marks(labels: LabelLog, marked: EpisodeMarks, *, annotator: str, client_key: str, seconds: float) -> Label:
    """Keep how far somebody says an episode came; takes the place of what was said of it before, by whomever.

    Args:
        labels: the label store.
        marked: the episode's marks.
        annotator: who says it: a participant's id, or a name.
        client_key: the client's own name for this label; a call repeated with it adds nothing.
        seconds: of the person's time it took.

    Raises:
        LabelConflict: the client key was used for another label.
        LabelStoreUnavailable: the label store does not answer.
        UserError: the marks cannot be.
    """
    check_marks(marked.marks, marked.length, marked.stages, f"episode '{marked.episode_id}'")
    return labels.add_label(
        "progress",
        program=PROGRAM,
        iteration=0,
        annotator=annotator,
        client_key=client_key,
        value=marked.model_dump(mode="json"),
        seconds=seconds,
        target=marks_target(marked.episode_id),
    )


def check_marks(marks: Sequence[Mark], length: int, stages: int, episode: str = "the episode") -> None:
    """Look whether marks tell a story that can be: in the order of frames, one stage after the other.

    Args:
        marks: of one episode.
        length: the episode's frames, T.
        stages: the task's stages, K.
        episode: what errors call the episode.

    Raises:
        UserError: a mark lies beyond the episode, is not behind the one before, names a stage there is not or that
            does not follow on the one before, or loses what was not reached; names the episode and the frame.
    """
    level, last = 0, -1
    for mark in marks:
        here = f"{episode}, frame {mark.frame}"
        if not 0 <= mark.frame < length:
            raise UserError(f"{here}: the mark lies beyond the episode", f"it has frames 0 to {length - 1}")
        if not 1 <= mark.stage <= stages:
            raise UserError(f"{here}: there is no stage {mark.stage}", f"there are stages 1 to {stages}")
        if mark.frame <= last:
            raise UserError(
                f"{here}: the mark is not behind the one before, at frame {last}", "one mark a frame, in their order"
            )
        if mark.lost and mark.stage > level:
            raise UserError(f"{here}: stage {mark.stage} is lost before it is reached", "mark where it is reached")
        if not mark.lost and mark.stage != level + 1:
            after = f"stage {level} is" if level else "no stage is"
            raise UserError(f"{here}: stage {mark.stage} is reached when {after}", f"mark stage {level + 1} first")
        level, last = (mark.stage - 1 if mark.lost else mark.stage), mark.frame
