"""The nouns of comparisons: a clip of somebody acting, a pair of clips, and what a person says of a pair.

A pair is a question: which of the two does better? The answer is the value of a label of kind ``preference``
(:class:`PreferenceValue`), and carries the hashes of both clips, so that what was compared can be told from what lies
under the same name later.
"""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Choice = Literal["left", "right", "tie", "cant_tell"]
"""An answer: one does better, both do equally well, or it cannot be told. A tie teaches that both are worth the same;
what cannot be told teaches nothing."""
CHOICES: tuple[Choice, ...] = get_args(Choice)

ClipKind = Literal["reach", "planner", "station"]
"""Where a clip was acted: the simulated arm, the household, a robot station."""

ChosenBy = Literal["disagreement", "random"]
"""How a question was chosen: where the ensemble of reward models disagrees most, or by lot."""

WorthOf = Literal["sum", "mean"]
"""What a clip is worth to a reward: its steps' sum, or their mean, for clips of different lengths."""

CLIP_ID = r"^[a-z0-9][a-z0-9_-]{0,119}$"
_HASH = r"^[0-9a-f]{64}$"


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClipFacts(_Fact):
    """A fragment of an episode, without its numbers."""

    clip_id: str = Field(pattern=CLIP_ID, description="unique within its program")
    kind: ClipKind
    episode_id: str = Field(min_length=1, max_length=1000, description="the episode it was cut from")
    start: int = Field(ge=0, description="its first step in the episode")
    steps: int = Field(ge=1, description="how many steps it has, T")
    fps: float = Field(gt=0, description="steps a second")
    task: str = Field(max_length=2000, description="what was to be done, as people are told")
    policy_id: str = Field(max_length=200, description="who acted; empty where nobody knows")
    seed: int | None = Field(default=None, description="of the world, where it was simulated")
    record: str = Field(default="", description="file it was cut from, relative to the store's root; empty: it has all")
    content_hash: str = Field(pattern=_HASH, description="sha256 of its observations and actions")


class ClipPair(_Fact):
    """A question: which of two clips does better."""

    pair_id: str = Field(pattern=CLIP_ID, description="unique within its program")
    left: str = Field(pattern=CLIP_ID, description="clip shown on the left")
    right: str = Field(pattern=CLIP_ID)
    chosen_by: ChosenBy
    disagreement: float | None = Field(
        default=None,
        description="standard deviation over the ensemble of the chance that the left one wins",
    )

    @model_validator(mode="after")
    def _two_clips(self) -> Self:
        if self.left == self.right:
            raise ValueError("a clip is compared with itself")
        return self


class PreferenceValue(_Fact):
    """What somebody says of a pair, as it was shown to them (target ``preference/<pair>/<annotator>``)."""

    origin: Literal["compare"] = "compare"
    pair_id: str = Field(pattern=CLIP_ID)
    left: str = Field(pattern=CLIP_ID, description="the clip they saw on the left")
    right: str = Field(pattern=CLIP_ID)
    left_hash: str = Field(pattern=_HASH)
    right_hash: str = Field(pattern=_HASH)
    choice: Choice | None = Field(description="null takes back what they said before")
    repeat: bool = Field(
        default=False, description="asked a second time, with the sides changed, to see whether they say the same again"
    )
