"""What people say afterwards about a station's episodes: the last word on each, by whomever.

Kept as values of labels of kind ``verdict`` in program ``station``; the iteration is the epoch the episode was
collected in. What was said at the station itself stands in the recording, and counts where nothing is said here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog
    from hitl_ops.labels.rows import Label
    from hitl_ops.records.station_hdf5 import Verdict

PROGRAM = "station"
SaidOfEpisode = Literal["good", "bad", "exclude", "withdrawn"]
"""``exclude``: not to be trained on; ``withdrawn``: what the station said counts again."""
ProposedWord = Literal["good", "bad", "unsure"]
"""What an estimator proposes; nobody's verdict until a person says so."""
_PREFIX = "station/"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class ShownProposal(BaseModel):
    """What an estimator proposed, as the person saw it who then said something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    said: ProposedWord
    score: float = Field(ge=0, le=1, allow_inf_nan=False, description="how good the estimator finds it")
    estimator: str = Field(pattern="^[0-9a-f]{64}$", description="hash of its weights")
    confirmed: bool = Field(
        default=False, description="whether the person confirmed it as it was, rather than saying a word of their own"
    )

    def check_confirms(self, said: SaidOfEpisode) -> None:
        """See that what is confirmed is what was proposed.

        Raises:
            ValueError: it is something else.
        """
        if self.confirmed and self.said != said:
            raise ValueError("what is confirmed is what was proposed")


class EpisodeVerdict(BaseModel):
    """What a person says about one episode (target ``station/<episode>``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    origin: Literal["verdicts"] = "verdicts"
    episode_id: str = Field(min_length=1, max_length=1000, description="the recording's own id")
    said: SaidOfEpisode
    proposal: ShownProposal | None = Field(default=None, description="what was proposed; None: no proposal was shown")

    @model_validator(mode="after")
    def _confirms_what_was_proposed(self) -> Self:
        if self.proposal is not None:
            self.proposal.check_confirms(self.said)
        return self


class StationVerdicts(NamedTuple):
    """What people say of a station's episodes, by episode id."""

    verdicts: dict[str, Verdict]
    excluded: set[str]


def episode_key(episode_id: str) -> str:
    """A short name for an episode in targets and addresses: its id, or the id's hash where that is no plain word."""
    if _PLAIN.fullmatch(episode_id):
        return episode_id
    return f"sha256-{hashlib.sha256(episode_id.encode('utf-8', 'surrogatepass')).hexdigest()}"


def episode_target(episode_id: str) -> str:
    """The target of a label that says what an episode is worth."""
    return f"{_PREFIX}{episode_key(episode_id)}"


def episode_verdict(label: Label) -> EpisodeVerdict | None:
    """What a label says of an episode; None where it says something else."""
    if not label.target.startswith(_PREFIX):
        return None
    try:
        return EpisodeVerdict.model_validate(label.value)
    except ValidationError:
        return None


def standing_verdicts(labels: LabelLog, iteration: int | None = None) -> dict[str, tuple[Label, EpisodeVerdict]]:
    """The last label on each episode, taken back ones included, by episode id.

    Args:
        labels: the label store.
        iteration: only of episodes collected in this epoch.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    found = (
        (label, episode_verdict(label)) for label in labels.labels("verdict", program=PROGRAM, iteration=iteration)
    )
    return {said.episode_id: (label, said) for label, said in found if said is not None}


def station_verdicts(
    labels: LabelLog, *, iteration: int | None = None, among: Collection[str] | None = None
) -> StationVerdicts:
    """What people say of a station's episodes, as :func:`hitl_ops.samples.station_dataset.build_station_dataset` takes
    it.

    Args:
        labels: the label store.
        iteration: only of episodes collected in this epoch.
        among: only of these episode ids: a data set refuses names of episodes that it has not.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    found = StationVerdicts({}, set())
    for episode_id, (_, value) in standing_verdicts(labels, iteration).items():
        if among is not None and episode_id not in among:
            continue
        if value.said == "good" or value.said == "bad":
            found.verdicts[episode_id] = value.said
        elif value.said == "exclude":
            found.excluded.add(episode_id)
    return found
