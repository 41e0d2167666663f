"""An estimator looks at the episodes stations sent in an epoch and proposes of each whether it is good.

The recordings become a LeRobot data set in the store's cache, the estimator says value and advantage of every frame,
and a rule makes a word of an episode's value at its end. Thresholds come from episodes of this and other epochs of
which people, or else the simulator, have said good or bad. Whatever is proposed, only what a person says is a verdict.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.station_epoch import EPISODE_NAME, EpochFolder, episode_number, epoch_folders
from hitl_ops.contracts.store import Store
from hitl_ops.labels.station_verdicts import PROGRAM, ProposedWord, standing_verdicts
from hitl_ops.models.estimator_config import ABSOLUTE_VALUE
from hitl_ops.records.lerobot_columns import EpisodeSpan, episode_spans
from hitl_ops.records.lerobot_layout import IMAGES
from hitl_ops.records.lerobot_overlay import dataset_fingerprint, open_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder, open_lerobot
from hitl_ops.records.station_hdf5 import StationEpisode, Verdict, read_station_episode
from hitl_ops.records.video_encoding import VideoSettings
from hitl_ops.samples.epoch_proposals import (
    PROPOSALS_FILE,
    EpisodeProposal,
    EpochProposals,
    ProposingEstimator,
    people_agreement,
    read_proposals,
)
from hitl_ops.samples.estimated_advantages import EstimationConfig, device_of, estimate_advantages, weights_hash
from hitl_ops.samples.estimation_output import clear_unfinished, unfinished_folder
from hitl_ops.samples.proposal_rule import (
    Agreement,
    ProposalRule,
    agreement,
    score_of,
    thresholds_of,
    value_at_end,
    words_left_out,
)
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog

_ADVANTAGES = "advantages_"
_NO_EPISODES = "let a station send some, or name another with --epoch and --task"


class ProposalConfig(StrictConfig):
    """How verdicts are proposed."""

    rule: ProposalRule = Field(default=ProposalRule(), description="what makes a word of an episode's values")
    estimation: EstimationConfig = Field(default=EstimationConfig(), description="how the estimator is run")
    video: VideoSettings = Field(default=VideoSettings(), description="how pictures are encoded for it")


class ProposalSummary(BaseModel):
    """What came of it."""

    place: str = Field(description="folder of the proposals")
    proposals: EpochProposals
    verdicts: dict[str, Verdict] = Field(description="what people say of the epoch's episodes now, by episode id")
    with_people: Agreement = Field(
        description="of proposals with those verdicts; thresholds being calibrated, each episode's without itself"
    )
    with_truth: Agreement = Field(description="alike, with what the simulator knows of episodes")
    shown: Agreement = Field(description="of people who saw a proposal of this epoch with what they saw, then and now")
    confirmed: int = Field(default=0, description="verdicts that were proposals, confirmed as they were")
    frames: int = Field(description="estimated")


@dataclass(frozen=True)
class _Judged:
    """An episode of which somebody knows whether it is good.

    Attributes:
        episode_id: which.
        score: its own.
        word: what counts: a person's verdict, otherwise the simulator's truth.
    """

    episode_id: str
    score: float
    word: Verdict


def chosen_epoch(store: Store, task: str | None, epoch: int | None) -> EpochFolder:
    """The epoch meant: of the only task there is, the newest with recordings, where they are not named.

    Raises:
        UserError: there is none, or several tasks to choose from.
    """
    base = store.station_incoming
    tasks = [task] if task is not None else sorted(one.name for one in base.glob("*") if any(one.glob("epoch_*/raw")))
    if len(tasks) > 1:
        raise UserError(f"'{base}' holds episodes of {', '.join(tasks)}", "name one with --task")
    folders = [one for name in tasks for one in epoch_folders(base, name) if _recordings(one)]
    wanted = [one for one in folders if epoch is None or one.epoch == epoch]
    if not wanted:
        where = base / (task or "") if epoch is None else base / (tasks[0] if tasks else "") / f"epoch_{epoch}"
        raise UserError(f"nothing has come in for '{where}'", _NO_EPISODES)
    return wanted[-1]


def propose_verdicts(
    estimator: Path,
    store: Store,
    folder: EpochFolder,
    config: ProposalConfig | None = None,
    labels: LabelLog | None = None,
    progress: Progress = silent,
) -> ProposalSummary:
    """Propose a verdict of every episode of an epoch; what stood there of it before is replaced when all is done.

    Args:
        estimator: folder of a trained estimator.
        store: where everything lies.
        folder: the epoch; see :func:`chosen_epoch`.
        config: how.
        labels: the label store; None where nobody ever said anything.
        progress: told of episodes that are converted, then of frames that are estimated.

    Returns:
        What came of it. ``proposals.json`` and the overlay of every frame's value and advantages lie in the iteration.

    Raises:
        UserError: nothing has come in, no episode has what the estimator looks at, or it or a recording cannot be used.
        LabelStoreUnavailable: the label store does not answer.
    """
    from hitl_ops.models.advantage_estimator import FACTS_FILE, WEIGHTS_FILE, read_estimator_facts

    config = config or ProposalConfig()
    facts, weights = read_estimator_facts(estimator), weights_hash(estimator)
    place = store.iteration(PROGRAM, folder.epoch).proposals(folder.task)
    episodes, left_out = _usable(folder, estimator, facts.cameras)
    dataset = store.proposal_dataset(folder.task, folder.epoch)
    form = StationDatasetConfig(
        task=facts.task or folder.task, prompts="plain", unlabelled="keep", aborted="keep", norm_stats=False,
        cameras=tuple(key.removeprefix(IMAGES) for key in facts.cameras), velocity=False, effort=False,
        environment_state=False, video=config.video,
    )  # fmt: skip
    built = build_station_dataset([one.path for one in episodes], dataset, form, progress)
    left_out |= {name: reason for reason, names in built.excluded.items() for name in names}
    opened = open_lerobot(dataset)
    told = config.estimation.model_dump(mode="json", include={"delta", "batch_size", "precision"})
    told["device"] = device_of(config.estimation)
    made = json.dumps([weights, built.manifest_hash, dataset_fingerprint(opened), told], sort_keys=True)
    advantages = place / f"{_ADVANTAGES}{hashlib.sha256(made.encode()).hexdigest()[:16]}"
    estimated = estimate_advantages(estimator, dataset, config.estimation, advantages, progress, replace=True)
    values = open_overlay(advantages, opened).column(ABSOLUTE_VALUE)
    named = ProposingEstimator(
        folder=str(estimator.resolve()),
        name=facts.name,
        variant=facts.config.variant,
        steps=facts.steps,
        weights=weights,
        files=(FACTS_FILE, WEIGHTS_FILE),
    )
    proposals = EpochProposals(
        task=folder.task,
        epoch=folder.epoch,
        estimator=named,
        data=built.manifest_hash,
        dataset=str(dataset),
        advantages=advantages.name,
        rule=config.rule,
        thresholds=thresholds_of(config.rule.replace(calibrate=False), [], []),
        episodes=tuple(_scored({one.facts.episode_id: one for one in episodes}, opened, values, config.rule)),
        left_out=left_out,
    )
    summary = _said(proposals, store, labels, place, estimated.frames)
    publish_json(place / PROPOSALS_FILE, summary.proposals)
    for old in place.glob(f"{_ADVANTAGES}*"):
        if old != advantages:
            shutil.rmtree(old, ignore_errors=True)
    for old in place.glob(unfinished_folder(place / f"{_ADVANTAGES}*").name):
        clear_unfinished(old)
    return summary


def _recordings(folder: EpochFolder) -> list[Path]:
    wanted = re.compile(EPISODE_NAME)
    return sorted(
        (file for file in folder.raw.glob("episode_*.hdf5") if wanted.match(file.name)),
        key=lambda file: (episode_number(file), file.name),
    )


def _usable(
    folder: EpochFolder, estimator: Path, cameras: Sequence[str]
) -> tuple[list[StationEpisode], dict[str, str]]:
    """The recordings the estimator can look at, and why it cannot at the others."""
    usable, left_out, remedies = [], {}, []
    files = _recordings(folder)
    if not files:
        raise UserError(f"nothing has come in for '{folder.path}'", _NO_EPISODES)
    for file in files:
        try:
            episode = read_station_episode(file)
        except UserError as error:
            left_out[file.name] = error.what
            remedies.append(error.remedy)
            continue
        missing = [key for key in cameras if key.removeprefix(IMAGES) not in episode.cameras]
        if missing:
            has = ", ".join(IMAGES + name for name in episode.cameras) or "none"
            left_out[file.name] = f"episode '{file}' has no camera '{missing[0]}'"
            remedies.append(f"estimator '{estimator}' looks at it; the episode has {has}")
            continue
        usable.append(episode)
    if not usable:
        first = next(iter(left_out.values()))
        others = f", and {len(left_out) - 1} more cannot be used" if len(left_out) > 1 else ""
        raise UserError(f"{first}{others}", remedies[0])
    return usable, left_out


def _scored(
    recorded: Mapping[str, StationEpisode],
    dataset: LeRobotFolder,
    values: npt.NDArray[np.float32],
    rule: ProposalRule,
) -> Iterator[EpisodeProposal]:
    """Every episode with its score; nothing is proposed of it yet."""
    spans: Mapping[int, EpisodeSpan] = {span.index: span for span in episode_spans(dataset)}
    for entry in dataset.entries():
        span, episode = spans[entry.index], recorded[entry.facts["episode_id"]]
        value = value_at_end(values[span.start : span.start + span.length], rule.last_frames)
        yield EpisodeProposal(
            episode_id=episode.facts.episode_id,
            file=episode.path.name,
            bytes=episode.path.stat().st_size,
            start=span.start,
            frames=span.length,
            value=value,
            score=score_of(value),
            said="unsure",
            doubt=1.0,
            station=episode.facts.verdict,
            success=episode.facts.success,
        )


def _said(
    proposals: EpochProposals, store: Store, labels: LabelLog | None, place: Path, frames: int
) -> ProposalSummary:
    """Calibrate, propose, and compare with what is known."""
    standing = {} if labels is None else {name: said for name, (_, said) in standing_verdicts(labels).items()}

    def verdict_of(episode: EpisodeProposal) -> Verdict | None:
        said = standing.get(episode.episode_id)
        if said is None or said.said == "withdrawn":
            return episode.station
        return said.said if said.said == "good" or said.said == "bad" else None

    judged = []
    for episode in (*proposals.episodes, *_elsewhere(proposals, store)):
        truth: Verdict | None = None if episode.success is None else "good" if episode.success else "bad"
        word = verdict_of(episode) or truth
        if word is not None:
            judged.append(_Judged(episode.episode_id, episode.score, word))
    scores, good = [one.score for one in judged], [one.word == "good" for one in judged]
    thresholds = thresholds_of(proposals.rule, scores, good)
    episodes = tuple(
        one.model_copy(update={"said": thresholds.word(one.score), "doubt": thresholds.doubt(one.score)})
        for one in proposals.episodes
    )
    own = {one.episode_id for one in episodes}
    places = [n for n, one in enumerate(judged) if one.episode_id in own]
    unseen: dict[str, ProposedWord] = dict(
        zip((judged[n].episode_id for n in places), words_left_out(proposals.rule, scores, good, places), strict=True)
    )
    verdicts = {one.episode_id: said for one in episodes if (said := verdict_of(one)) is not None}
    truths = [one for one in episodes if one.success is not None and one.episode_id in unseen]
    here = [said for name, said in standing.items() if name in own]
    return ProposalSummary(
        place=str(place),
        proposals=proposals.model_copy(update={"thresholds": thresholds, "episodes": episodes}),
        verdicts=verdicts,
        with_people=agreement((unseen[name], said) for name, said in verdicts.items()),
        with_truth=agreement((unseen[one.episode_id], "good" if one.success else "bad") for one in truths),
        shown=people_agreement(here),
        confirmed=sum(one.proposal is not None and one.proposal.confirmed for one in here),
        frames=frames,
    )


def _elsewhere(proposals: EpochProposals, store: Store) -> Iterator[EpisodeProposal]:
    """Episodes of other epochs of which the same estimator has said what it finds, by the same rule."""
    for folder in epoch_folders(store.station_incoming, proposals.task):
        if folder.epoch == proposals.epoch:
            continue
        other = read_proposals(store.iteration(PROGRAM, folder.epoch).proposals(proposals.task))
        same = other is not None and other.estimator.weights == proposals.estimator.weights
        if other is not None and same and other.rule.last_frames == proposals.rule.last_frames:
            yield from other.episodes
