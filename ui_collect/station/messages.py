"""Bodies of the verdict page's requests and answers; every text and number in them is bounded."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from hitl_ops.labels.station_verdicts import ProposedWord, SaidOfEpisode, ShownProposal
from hitl_ops.records.station_hdf5 import Verdict
from ui_collect.annotate.messages import Seconds
from ui_collect.protocol import Message
from ui_collect.text_input import Key

PREFIX = "/api/verdicts"

EpisodeKey = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


# --- page → server --------------------------------------------------------------------------------------------


class HereRequest(Message):
    """Body of ``POST episodes/{key}/here``."""

    seconds: float = Field(ge=0, le=3600, allow_inf_nan=False, description="of attention since the last one")


class VerdictRequest(Message):
    """Body of ``POST labels``."""

    key: Key
    episode: EpisodeKey
    said: SaidOfEpisode
    seconds: Seconds = Field(description="of attention this took")
    seen: int = Field(ge=0, description="the label that stood when it was said, as far as the page knew; 0: none")
    proposal: ShownProposal | None = Field(default=None, description="what an estimator proposed, where it was shown")

    @model_validator(mode="after")
    def _confirms_what_was_proposed(self) -> Self:
        if self.proposal is not None:
            self.proposal.check_confirms(self.said)
        return self


# --- server → page --------------------------------------------------------------------------------------------


class MeAnswer(Message):
    """Answer of ``GET me``."""

    id: str
    name: str
    target: int = Field(description="episodes that are to be judged; 0: nobody said")


class EpisodeState(Message):
    """What is said of an episode now."""

    label: int = Field(description="the label that stands; 0: nobody said anything afterwards")
    said: SaidOfEpisode | None
    by: str | None = Field(description="who said it")
    mine: bool
    verdict: Verdict | None = Field(description="what counts: what was said afterwards, else what the station said")
    excluded: bool


class ProposalItem(Message):
    """What an estimator proposes of an episode."""

    said: ProposedWord
    score: float = Field(description="how good it finds it, 0 to 1")
    doubt: float = Field(description="how little that says, 0 to 1; above a half it is unsure")
    estimator: str = Field(description="hash of its weights")
    stale: str = Field(description="why it does not count any more; empty where it does")


class EpisodeItem(EpisodeState):
    """An episode in the list."""

    key: str
    task: str
    epoch: int
    number: int
    file: str
    station: Verdict | None
    success: bool | None = Field(description="the simulator's truth, where it is known")
    aborted: str | None = Field(description="why it was not finished; null where it was")
    policy: str
    seconds: float
    cameras: list[str]
    looked_at_by: str | None = Field(description="somebody else who has it open now")
    proposal: ProposalItem | None = Field(description="what an estimator proposes; null: nothing")


class AgreementItem(Message):
    """How often people who saw a proposal of good or bad said the same."""

    same: int
    decided: int


class ListAnswer(Message):
    """Answer of ``GET episodes``: those without a verdict first, then by epoch."""

    episodes: list[EpisodeItem]
    agreed: AgreementItem | None = Field(description="with the estimator; null: nobody has been shown a proposal")


class HereAnswer(Message):
    """Answer of ``POST episodes/{key}/here``."""

    looked_at_by: str | None
    lease_s: float


class VerdictAnswer(EpisodeState):
    """Answer of ``POST labels``."""

    kept: int = Field(description="number of the label that was kept")
