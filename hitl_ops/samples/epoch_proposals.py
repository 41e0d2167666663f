"""What an estimator proposes of a station's episodes, as it stands on disk, and how far people agree with it.

A proposal is nobody's verdict: data sets and trainings do not read these files. Each names what it was made of, so that
one whose estimator or recording is another by now is known to be stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.station_verdicts import EpisodeVerdict, ProposedWord
from hitl_ops.models.estimator_config import ABSOLUTE_VALUE
from hitl_ops.records.lerobot_overlay import FACTS_FILE, Overlay, OverlayFacts
from hitl_ops.records.station_hdf5 import Verdict
from hitl_ops.samples.proposal_rule import Agreement, ProposalRule, Thresholds, agreement

PROPOSALS_FILE = "proposals.json"
ESTIMATOR_CHANGED = "the estimator is another one by now"
RECORDING_CHANGED = "the recording is another one by now"
_BLOCK = 2**20
_REMEDY = "make them again with `flywheel propose-verdicts`"


class ProposingEstimator(BaseModel):
    """Which estimator proposed."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field(description="where it was")
    name: str
    variant: str
    steps: int = Field(ge=0)
    weights: str = Field(pattern="^[0-9a-f]{64}$", description="hash over its files")
    files: tuple[str, ...] = Field(description="those files, in the order they were hashed")

    def changed(self) -> bool:
        """Whether another one stands where it was; one that has gone leaves what it said as it is."""
        digest = hashlib.sha256()
        try:
            for name in self.files:
                with (Path(self.folder) / name).open("rb") as file:
                    while part := file.read(_BLOCK):
                        digest.update(part)
        except OSError:
            return False
        return digest.hexdigest() != self.weights


class EpisodeProposal(BaseModel):
    """What is proposed of one episode."""

    model_config = ConfigDict(extra="forbid")

    episode_id: str
    file: str = Field(description="the recording's name in its epoch")
    bytes: int = Field(ge=0, description="length of the recording; another length is another recording")
    start: int = Field(ge=0, description="its first row in the overlay")
    frames: int = Field(ge=1, description="rows of it there")
    value: float = Field(description="mean of absolute_value over its last frames")
    score: float = Field(ge=0, le=1, description="the value, kept within 0 and 1")
    said: ProposedWord
    doubt: float = Field(ge=0, le=1, description="how little the proposal says; above a half it is unsure")
    station: Verdict | None = Field(description="what was said at the station")
    success: bool | None = Field(description="the simulator's truth, where it is known")


class EpochProposals(BaseModel):
    """``proposals.json``: what is proposed of an epoch's episodes, and what that was made of."""

    model_config = ConfigDict(extra="forbid")

    task: str
    epoch: int = Field(ge=0)
    estimator: ProposingEstimator
    data: str = Field(description="hash over the epoch's episodes as they were estimated")
    dataset: str = Field(description="data set they were estimated in; may have been deleted since")
    advantages: str = Field(pattern="^[A-Za-z0-9_]+$", description="overlay beside this file: a row a frame")
    rule: ProposalRule
    thresholds: Thresholds
    episodes: tuple[EpisodeProposal, ...]
    left_out: dict[str, str] = Field(description="recording -> why nothing is proposed of it")

    def of(self, episode_id: str) -> EpisodeProposal | None:
        """What is proposed of an episode; None where nothing is."""
        return next((one for one in self.episodes if one.episode_id == episode_id), None)


def read_proposals(folder: Path) -> EpochProposals | None:
    """Read an epoch's proposals; None where none were made.

    Args:
        folder: see :meth:`hitl_ops.contracts.store.IterationPaths.proposals`.

    Raises:
        UserError: they are damaged.
    """
    file = folder / PROPOSALS_FILE
    try:
        return EpochProposals.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"'{file}' cannot be read ({error.strerror})", _REMEDY) from None
    except ValidationError as error:
        raise UserError(f"'{file}' is damaged ({error.errors()[0]['msg']})", _REMEDY) from None


def episode_values(folder: Path, proposals: EpochProposals, episode: EpisodeProposal) -> npt.NDArray[np.float32]:
    """The value of each frame of an episode, [frames].

    Args:
        folder: of the proposals.
        proposals: what stands there.
        episode: one of them.

    Raises:
        UserError: the estimates are missing or damaged.
    """
    place = folder / proposals.advantages
    try:
        facts = OverlayFacts.model_validate_json((place / FACTS_FILE).read_bytes())
    except (OSError, ValidationError):
        raise UserError(f"'{place}' is missing or damaged", _REMEDY) from None
    # The folder's name is a hash over what it was made of: it belongs to these proposals and no others.
    values = Overlay(place, facts).column(ABSOLUTE_VALUE)
    found: npt.NDArray[np.float32] = values[episode.start : episode.start + episode.frames]
    return found


def people_agreement(verdicts: Iterable[EpisodeVerdict]) -> Agreement:
    """How far people who saw a proposal and said good or bad agree with it.

    Args:
        verdicts: what stands of each episode.
    """
    return agreement(
        (one.proposal.said, one.said)
        for one in verdicts
        if one.proposal is not None and (one.said == "good" or one.said == "bad")
    )
