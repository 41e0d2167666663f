"""What people say about a policy's decisions: in the middle of a play, or afterwards on the annotation page.

All of it is kept as values of labels: a :class:`DecisionCorrection` or a :class:`CorrectionValue` in a label of kind
``correction``, a :class:`PlayReview` or an :class:`AnnotationFinished` in one of kind ``verdict``. Those said on the
annotation page carry ``origin``; those made in a play do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

REASON_LENGTH = 2000
"""Characters a reason may have."""


def prompt_hash(prompt: str) -> str:
    """The sha256 of a prompt, in hexadecimal: says which text was corrected without repeating it."""
    return hashlib.sha256(prompt.encode("utf-8")).hexdigest()


def join_label_ids(ids: Iterable[int]) -> str:
    """Labels that made one sample, as ``Sample.label_id`` keeps them: ascending, between commas."""
    return ",".join(str(number) for number in sorted(set(ids)))


def split_label_ids(text: str) -> list[int]:
    """The labels named by ``Sample.label_id``; none where it is empty."""
    return [int(number) for number in text.split(",") if number]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DecisionCorrection(_Said):
    """What an annotator says about one decision of a play (target ``play/<play>/decision/<index>``)."""

    origin: Literal["annotation"] = "annotation"
    verdict: Literal["error", "withdrawn"] = Field(description="withdrawn takes back what the annotator said before")
    original: str = Field(max_length=400, description="what the policy chose, as Tool[args]")
    corrected: str = Field(default="", max_length=400, description="what it should have chosen; empty when withdrawn")
    reason: str = Field(default="", max_length=REASON_LENGTH, description="why, in the annotator's words")
    policy_id: str = Field(max_length=200, description="the policy that chose")
    prompt_hash: str = Field(pattern="^[0-9a-f]{64}$", description="sha256 of the prompt it chose from")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.verdict == "withdrawn" and self.corrected:
            raise ValueError("what is withdrawn corrects nothing")
        if self.verdict == "error" and not self.corrected:
            raise ValueError("an error needs the action that would have been right")
        if self.verdict == "error" and self.corrected == self.original:
            raise ValueError("the correction is what the policy chose")
        return self


class PlayReview(_Said):
    """An annotator has been through a play (target ``play/<play>/review``).

    Finished says of every decision of the partner that was not marked that it is right; skipped says nothing of any.
    """

    origin: Literal["annotation"] = "annotation"
    status: Literal["finished", "skipped"]
    errors: int = Field(default=0, ge=0, description="decisions the annotator had marked when finishing")


class AnnotationFinished(_Said):
    """An annotator closes an iteration's annotation by hand (target ``iteration/<program>/<key>/annotation``)."""

    origin: Literal["annotation"] = "annotation"
    status: Literal["finished"] = "finished"


class CorrectionValue(BaseModel):
    """What a person decided for the partner during a play: enough to train on, without looking anything up."""

    model_config = ConfigDict(extra="forbid")

    decision_index: int = Field(description="index, among the play's decisions, of what the partner did instead")
    replaces: int | None = Field(description="index of the decision broken off; null: the policy had not replied yet")
    original: str = Field(description="what the policy chose, as Tool[args]; empty where it never replied")
    corrected: str = Field(description="what the person chose, as Tool[args]")
    policy_id: str = Field(description="the policy that was overridden")
    by: str = Field(description="participant id")
    tick: int = Field(description="simulation step at which the person decided")
    asked_tick: int = Field(description="simulation step of what both chose from")
    prompt: str = Field(description="what the policy read, to the letter")
    admissible: list[str] = Field(description="every action that could be named")
