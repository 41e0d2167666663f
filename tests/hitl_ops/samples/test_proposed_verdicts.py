"""Proposals of a station's episodes: made of every frame's value, nobody's verdict, refreshed, told when stale."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from flywheel.cli import run
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.station_verdicts import (
    PROGRAM,
    EpisodeVerdict,
    ShownProposal,
    episode_target,
    station_verdicts,
)
from hitl_ops.models.advantage_estimator import FACTS_FILE
from hitl_ops.records.lerobot_overlay import open_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.samples.epoch_proposals import EpochProposals, episode_values, people_agreement, read_proposals
from hitl_ops.samples.estimated_advantages import weights_hash
from hitl_ops.samples.proposal_rule import Agreement, ProposalRule
from hitl_ops.samples.proposed_verdicts import ProposalConfig, chosen_epoch, propose_verdicts
from hitl_ops.samples.station_epochs import words_on
from tests.support.proposed_verdicts import spread_rule, trained_estimator, untrained_estimator
from tests.support.station_recordings import record, robot
from tests.support.station_verdicts import say_of_episode

SPEC = robot("cam_high", "cam_wrist", size=(32, 48))
TOLD = (None, "good", "bad", None)


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return untrained_estimator(tmp_path_factory.mktemp("estimators") / "tried")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def epoch(store: Store, number: int = 1) -> EpochFolder:
    return EpochFolder(store.station_incoming, "lift_lid", number)


@pytest.fixture
def collected(store: Store) -> EpochFolder:
    """Four filmed episodes of different lengths, and one that no camera saw."""
    folder = epoch(store)
    for number, label in enumerate(TOLD):
        where = folder.episode(number)
        record(where, 12 + 3 * number, spec=SPEC, label=label, seed=3 * number, episode_id=f"e{number}")
    record(folder.episode(4), 5, label=None, episode_id="bare")
    return folder


def standing(store: Store) -> EpochProposals:
    found = read_proposals(store.iteration(PROGRAM, 1).proposals("lift_lid"))
    assert found is not None
    return found


@pytest.mark.slow
def test_a_trained_estimator_proposes_by_the_rule(
    store: Store, collected: EpochFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = trained_estimator(tmp_path / "trained", steps=4)
    words = ["propose-verdicts", str(trained), "--root", str(store.root), "--set", "rule.last_frames=4"]
    assert run(words) == 0
    said = capsys.readouterr().out
    made, place = standing(store), store.iteration(PROGRAM, 1).proposals("lift_lid")
    assert said.rstrip().endswith(str(place)) and "verdicts of people" in said
    assert "no camera 'observation.images.cam_high'" in said and list(made.left_out) == ["episode_4.hdf5"]
    overlay = open_overlay(place / made.advantages, open_lerobot(Path(made.dataset)))
    assert set(overlay.facts.columns) == {"relative_advantage", "absolute_value", "absolute_advantage"}
    column, start = overlay.column("absolute_value"), 0
    assert [one.episode_id for one in made.episodes] == ["e0", "e1", "e2", "e3"]
    for number, one in enumerate(made.episodes):
        own = column[start : start + 12 + 3 * number]
        np.testing.assert_array_equal(episode_values(place, made, one), own)
        assert one.value == pytest.approx(float(own[-4:].mean()), abs=1e-6)
        assert one.score == pytest.approx(float(np.clip(own[-4:].mean(), 0, 1)), abs=1e-6)
        assert one.said == ("good" if one.score >= 0.7 else "bad" if one.score <= 0.3 else "unsure")
        start += len(own)
    assert (made.estimator.weights, made.estimator.steps) == (weights_hash(trained), 4)


@pytest.mark.slow
def test_a_proposal_is_no_verdict_and_is_refreshed(store: Store, collected: EpochFolder, estimator: Path) -> None:
    labels = LabelStore.open(store.labels_url)
    first = propose_verdicts(estimator, store, collected, labels=labels)
    videos = sorted(Path(first.proposals.dataset).glob("videos/*/*/*.mp4"))
    assert station_verdicts(labels) == ({}, set()) and labels.labels("verdict") == []
    files = [collected.episode(number) for number in range(5)]
    assert words_on(files, labels) == ({}, set()), "data sets hear nothing of it"
    assert first.verdicts == {"e1": "good", "e2": "bad"}

    rule = spread_rule(first.proposals)
    left = store.iteration(PROGRAM, 1).proposals("lift_lid") / ".advantages_0123456789abcdef.unfinished"
    left.mkdir()
    (left / "episode_000000.parquet").write_bytes(b"of other settings")
    again = propose_verdicts(estimator, store, collected, ProposalConfig(rule=rule), labels)
    assert again.proposals.advantages == first.proposals.advantages, "nothing is estimated twice"
    assert sorted(Path(first.proposals.dataset).glob("videos/*/*/*.mp4")) == videos
    assert not left.exists()
    by_score = sorted(again.proposals.episodes, key=lambda one: one.score)
    assert [one.said for one in by_score] == ["bad", "unsure", "good", "good"]
    assert standing(store) == again.proposals

    # One of the same length and name takes another's place.
    file = collected.episode(2)
    file.unlink()
    record(file, 18, spec=SPEC, label=None, seed=40, episode_id="another")
    later = propose_verdicts(estimator, store, collected, labels=labels).proposals
    assert later.advantages != first.proposals.advantages and later.of("e2") is None
    found = later.of("another")
    assert found is not None and found.value != pytest.approx(by_score[0].value, abs=1e-4)
    place = store.iteration(PROGRAM, 1).proposals("lift_lid")
    assert sorted(one.name for one in place.iterdir()) == [later.advantages, "proposals.json"]
    labels.close()


@pytest.mark.slow
def test_people_and_other_epochs_calibrate(store: Store, collected: EpochFolder, estimator: Path) -> None:
    labels = LabelStore.open(store.labels_url)
    config = ProposalConfig(rule=ProposalRule(least_judged=2, precision=0.6))
    uncalibrated = propose_verdicts(estimator, store, collected, ProposalConfig(), labels).proposals
    assert not uncalibrated.thresholds.calibrated
    ranked = sorted(uncalibrated.episodes, key=lambda one: one.score)
    # The simulator is of another mind than the person, whose word counts.
    for place, one in enumerate(ranked):
        say_of_episode(labels, one.episode_id, "good" if place >= 2 else "bad", epoch=1)
    summary = propose_verdicts(estimator, store, collected, config, labels)
    known = summary.proposals.thresholds
    assert (known.bad, known.good) == (ranked[1].score, ranked[2].score)
    assert (known.judged_good, known.judged_bad) == (2, 2)
    # Each without itself: one kind has too few then, so that the thresholds are the configured ones.
    fixed = ["good" if one.score >= 0.7 else "bad" if one.score <= 0.3 else "unsure" for one in ranked]
    pairs = list(zip(fixed, ("bad", "bad", "good", "good"), strict=True))
    assert summary.with_people.same == sum(said == told for said, told in pairs)
    assert summary.with_people.unsure == fixed.count("unsure")

    # A later epoch of which nobody has said anything takes the thresholds over.
    other = epoch(store, 2)
    record(other.episode(0), 15, spec=SPEC, label=None, seed=9, episode_id="new")
    assert chosen_epoch(store, None, None) == other
    there = propose_verdicts(estimator, store, other, config, labels).proposals.thresholds
    assert there.calibrated and there.judged_good + there.judged_bad == 5
    labels.close()


@pytest.mark.slow
def test_an_estimator_that_was_trained_on_is_another(store: Store, collected: EpochFolder, estimator: Path) -> None:
    own = Path(shutil.copytree(estimator, store.root.parent / "own"))
    propose_verdicts(own, store, collected)
    assert not standing(store).estimator.changed()
    (own / FACTS_FILE).write_text((own / FACTS_FILE).read_text() + "\n")
    assert standing(store).estimator.changed()
    shutil.rmtree(own)
    assert not standing(store).estimator.changed(), "what has gone says nothing"
    file = store.iteration(PROGRAM, 1).proposals("lift_lid") / "proposals.json"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="is damaged"):
        standing(store)


@pytest.mark.slow
def test_what_cannot_be_used_is_one_line(
    store: Store, estimator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert run(["propose-verdicts", *words, "--root", str(store.root)]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("error: ") and "\n" not in said
        return said

    assert "nothing has come in" in refused(str(estimator))
    record(epoch(store).episode(0), 5, label=None, episode_id="bare")
    said = refused(str(estimator))
    assert "has no camera 'observation.images.cam_high'" in said and "has none" in said and str(estimator) in said
    assert "holds no estimator" in refused(str(tmp_path))
    epoch(store).episode(0).write_bytes(b"no recording")
    record(epoch(store).episode(1), 5, spec=robot("side", size=(32, 48)), label=None)
    said = refused(str(estimator))
    assert "is corrupt" in said and "and 1 more cannot be used" in said
    assert "nothing has come in" in refused(str(estimator), "--epoch", "7")
    record(EpochFolder(store.station_incoming, "fold", 1).episode(0), 5)
    assert "name one with --task" in refused(str(estimator))
    assert "must lie below" in refused(str(estimator), "--task", "fold", "--set", "rule.threshold_bad=0.9")
    assert read_proposals(store.iteration(PROGRAM, 1).proposals("lift_lid")) is None


def test_labels_remember_what_was_shown(store: Store) -> None:
    def shown(said: str, proposed: str, confirmed: bool = False) -> EpisodeVerdict:
        proposal = ShownProposal.model_validate(
            {"said": proposed, "score": 0.4, "estimator": "a" * 64, "confirmed": confirmed}
        )
        return EpisodeVerdict.model_validate({"episode_id": "e", "said": said, "proposal": proposal})

    before = {"origin": "verdicts", "episode_id": "e", "said": "good"}
    assert EpisodeVerdict.model_validate(before).proposal is None, "rows of before are read"
    with pytest.raises(ValueError, match="what is confirmed is what was proposed"):
        shown("good", "bad", confirmed=True)
    labels = LabelStore.open(store.labels_url)
    value = shown("good", "good", confirmed=True)
    target = episode_target("e")
    labels.add_label(
        "verdict", program=PROGRAM, iteration=1, annotator="eva", client_key="k", target=target,
        value=value.model_dump(mode="json"),
    )  # fmt: skip
    assert station_verdicts(labels).verdicts == {"e": "good"}, "what a person confirmed is a verdict as any other"
    labels.close()
    said = [value, shown("bad", "good"), shown("good", "unsure"), shown("exclude", "good")]
    assert people_agreement([*said, EpisodeVerdict.model_validate(before)]) == Agreement(same=1, different=1, unsure=1)
