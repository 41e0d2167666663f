"""What an estimator proposes of stations' episodes, for the verdict page: read when it is new, and told when stale."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.station_verdicts import PROGRAM
from hitl_ops.samples.epoch_proposals import (
    ESTIMATOR_CHANGED,
    PROPOSALS_FILE,
    RECORDING_CHANGED,
    EpisodeProposal,
    EpochProposals,
    episode_values,
    read_proposals,
)
from ui_collect.station.messages import ProposalItem
from ui_collect.station.recordings import Curve, Recording

logger = logging.getLogger(__name__)

_POINTS = 240
_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Known:
    """An epoch's proposals as they were read.

    Attributes:
        stamp: of the file and the estimator's files, as they were then.
        proposals: None where there are none, or they cannot be read.
        by_id: what is proposed of each episode.
        stale: why none of them counts any more; empty where they do.
    """

    stamp: _Stamp
    proposals: EpochProposals | None
    by_id: dict[str, EpisodeProposal]
    stale: str


class ProposalBook:
    """Everything that is proposed. Calls block; from any thread.

    Args:
        store: where proposals lie.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[Path, _Known] = {}

    def of(self, recording: Recording) -> ProposalItem | None:
        """What is proposed of a recording; None where nothing is."""
        known = self._epoch(recording)
        proposed = known.by_id.get(recording.facts.episode_id)
        if known.proposals is None or proposed is None:
            return None
        return ProposalItem(
            said=proposed.said,
            score=proposed.score,
            doubt=proposed.doubt,
            estimator=known.proposals.estimator.weights,
            stale=known.stale or _changed(recording, proposed),
        )

    def value(self, recording: Recording) -> Curve | None:
        """How much of the task the estimator finds done over an episode, thinned out evenly; None where it is not
        known.
        """
        known = self._epoch(recording)
        proposed = known.by_id.get(recording.facts.episode_id)
        if known.proposals is None or proposed is None or known.stale or _changed(recording, proposed):
            return None
        try:
            values = episode_values(self._folder(recording), known.proposals, proposed)
        except UserError as error:
            logger.warning("%s", error)
            return None
        if len(values) == 0:
            return None
        rows = np.unique(np.linspace(0, len(values) - 1, _POINTS).astype(int))
        return Curve(name="done, says the estimator", values=[round(float(value), 4) for value in values[rows]])

    def _folder(self, recording: Recording) -> Path:
        return self._store.iteration(PROGRAM, recording.epoch).proposals(recording.folder)

    def _epoch(self, recording: Recording) -> _Known:
        folder = self._folder(recording)
        with self._lock:
            known = self._known.get(folder)
            proposals = known.proposals if known is not None else None
            if known is None or known.stamp != _stamp(folder, proposals):
                known = self._known[folder] = _read(folder)
            return known


def _read(folder: Path) -> _Known:
    try:
        proposals = read_proposals(folder)
    except UserError as error:
        logger.warning("%s", error)
        proposals = None
    if proposals is None:
        return _Known(_stamp(folder, None), None, {}, "")
    stale = ESTIMATOR_CHANGED if proposals.estimator.changed() else ""
    return _Known(_stamp(folder, proposals), proposals, {one.episode_id: one for one in proposals.episodes}, stale)


def _stamp(folder: Path, proposals: EpochProposals | None) -> _Stamp:
    """Changes whenever the proposals, or the estimator they come from, are written anew."""
    files = [folder / PROPOSALS_FILE]
    if proposals is not None:
        files += [Path(proposals.estimator.folder) / name for name in proposals.estimator.files]
    return tuple(_file_stamp(file) for file in files)


def _file_stamp(file: Path) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:
        return 0, -1
    return status.st_mtime_ns, status.st_size


def _changed(recording: Recording, proposed: EpisodeProposal) -> str:
    """Why a proposal is of another recording; empty where it is of this one."""
    same = proposed.frames == recording.frames and proposed.bytes == _file_stamp(recording.path)[1]
    return "" if same else RECORDING_CHANGED
