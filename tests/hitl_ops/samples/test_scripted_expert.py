"""The scripted expert goes through plays of a policy that slips: it marks the slips, and says so exactly once."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.correction import DecisionCorrection, PlayReview, prompt_hash
from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.experts.oracle import Oracle
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.opinions import opinions
from hitl_ops.labels.rows import Label
from hitl_ops.records.session_log import closed_log_path, read_session_log
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.decision_review import review_play
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.samples.collected_plays import CollectedPlay, PlayManifest, collect_plays
from hitl_ops.samples.scripted_expert import ScriptedExpertConfig, annotate_plays
from tests.support.collected_plays import Collected
from tests.support.partnered_plays import Slipping, beside

EPISODES = 6


@dataclass
class Played:
    """Plays of a store, and the prompts at which their partner slipped."""

    collected: Collected
    manifest: PlayManifest
    slips: set[str]

    @property
    def sessions(self) -> Path:
        return self.collected.sessions

    def annotate(self, config: ScriptedExpertConfig | None = None, **how: Any) -> Any:
        return annotate_plays(
            self.collected.labels, self.manifest, self.sessions, config or ScriptedExpertConfig(), **how
        )

    def said(self) -> list[Label]:
        return self.collected.labels.labels(program="planner", superseded=True)

    def corrections(self, annotator: str = "scripted-expert") -> dict[tuple[str, int], DecisionCorrection]:
        """What is marked as an error, by play and decision."""
        found: dict[tuple[str, int], DecisionCorrection] = {}
        for label in self.said():
            if label.kind == "correction" and label.annotator == annotator:
                value = DecisionCorrection.model_validate(label.value)
                found[label.episode_play_id or "", label.decision_index or 0] = value
        return {place: value for place, value in found.items() if value.verdict == "error"}

    def decisions(self, play: CollectedPlay) -> list[Decision]:
        return [decision for decision in read_trace(play.trace(self.sessions)).decisions if decision.role == "ai"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Played:
    collected = Collected(Store.at(tmp_path_factory.mktemp("annotated")))
    slips: set[str] = set()
    for index in range(EPISODES):
        partner = Slipping(0.45, seed=index)
        collected.play(generate_episode("train", index), "ann", through=beside(partner, most_ticks=3000))
        slips |= partner.slips
    oracle = Oracle("partial")
    collected.play(generate_episode("train", 3), "bob", through=beside(oracle))
    manifest = collect_plays(collected.labels, collected.store.iteration("planner", 0))
    assert len(manifest.plays) == EPISODES + 1 and not manifest.broken and len(slips) > 12
    return Played(collected, manifest, slips)


@pytest.fixture
def played(sound: Played, tmp_path: Path) -> Played:
    """A copy of them, to be annotated."""
    sound.collected.labels.close()
    shutil.copytree(sound.collected.store.root, tmp_path / "store")
    return Played(Collected(Store.at(tmp_path / "store")), sound.manifest, sound.slips)


def test_marks_slips_and_hardly_anything_else(played: Played) -> None:
    summary = played.annotate()
    marked = played.corrections()
    decisions = {(play.play_id, d.index): d for play in played.manifest.plays for d in played.decisions(play)}
    assert summary.decisions == len(decisions) and summary.corrections == len(marked) == summary.wrong
    slipped = {place for place, decision in decisions.items() if decision.prompt in played.slips}
    refused = {place for place in slipped if decisions[place].response.startswith("Unexpected failure")}
    assert refused <= set(marked)
    # Some things done at random serve the task by chance; none but slips are marked.
    assert len(slipped & set(marked)) > 0.7 * len(slipped)
    assert len(set(marked) - slipped) <= 0.02 * len(decisions)
    for place, correction in marked.items():
        decision = decisions[place]
        assert correction.original == decision.action != correction.corrected
        assert correction.corrected in decision.admissible
        assert (correction.policy_id, correction.prompt_hash) == (decision.policy_id, prompt_hash(decision.prompt))
        assert correction.reason


def test_a_play_of_the_oracle_is_finished_without_a_mark(played: Played) -> None:
    last = played.manifest.plays[-1]
    summary = played.annotate(plays=[last.play_id])
    assert (summary.plays, summary.corrections) == (1, 0) and summary.decisions > 2
    said = opinions(played.collected.labels, "planner", 0).plays[last.play_id]
    assert said.reviews["scripted-expert"] == PlayReview(status="finished", errors=0)


def test_a_second_run_adds_nothing(played: Played) -> None:
    played.annotate()
    before = played.said()
    summary = played.annotate()
    assert played.said() == before
    assert (summary.plays, summary.plays_before, summary.corrections) == (0, EPISODES + 1, 0)


def test_the_same_seed_says_the_same_anywhere(played: Played, sound: Played, tmp_path: Path) -> None:
    config = ScriptedExpertConfig(accuracy=0.5, seed=3)
    played.annotate(config)
    shutil.copytree(sound.collected.store.root, tmp_path / "other")
    other = Played(Collected(Store.at(tmp_path / "other")), sound.manifest, sound.slips)
    other.annotate(config, plays=[play.play_id for play in reversed(sound.manifest.plays)])
    assert other.corrections() == played.corrections()
    other.annotate(config.replace(seed=4), annotator="another")
    assert other.corrections("another") != other.corrections()


def test_at_no_accuracy_everything_is_marked_and_nothing_said_serves(played: Played) -> None:
    summary = played.annotate(ScriptedExpertConfig(accuracy=0.0))
    marked = played.corrections()
    assert summary.corrections == summary.made_up == summary.decisions == len(marked)
    for play in played.manifest.plays:
        log = read_session_log(closed_log_path(played.sessions / play.session_id, play.play_id))
        for one in review_play(log):
            correction = marked[play.play_id, one.decision.index]
            assert correction.corrected in one.decision.admissible
            assert not one.judgement.accepts(correction.corrected)


def test_between_the_two_it_is_right_about_so_many(played: Played) -> None:
    summary = played.annotate(ScriptedExpertConfig(accuracy=0.5))
    assert 0.3 < summary.made_up / summary.decisions < 0.7
    assert summary.made_up < summary.corrections < summary.decisions


def test_time_is_modelled_and_the_first_corrections_are_the_ones_made(played: Played) -> None:
    config = ScriptedExpertConfig(
        accuracy=0.0, seconds_per_play=20, seconds_per_correction=5, max_corrections_per_play=2
    )
    summary = played.annotate(config)
    kept = {play.play_id: [d.index for d in played.decisions(play)][:2] for play in played.manifest.plays}
    count = sum(len(indices) for indices in kept.values())
    assert summary.corrections == count and summary.passed_over == summary.decisions - count > 0
    assert summary.seconds == len(kept) * 20 + count * 5 == sum(label.seconds for label in played.said())
    assert played.corrections().keys() == {(play_id, index) for play_id, indices in kept.items() for index in indices}


def test_goes_through_so_many_plays_in_all(played: Played) -> None:
    order = [play.play_id for play in played.manifest.plays]
    assert played.annotate(limit=2).plays == 2
    assert played.annotate(limit=2).plays == 0
    assert played.annotate(limit=3).plays == 1
    assert opinions(played.collected.labels, "planner", 0).reviewed == sorted(order[:3])


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    played: Played, sound: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sound.collected.store.root, tmp_path / "unbroken")
    unbroken = Played(Collected(Store.at(tmp_path / "unbroken")), sound.manifest, sound.slips)
    unbroken.annotate()
    add = LabelStore.add_label

    def stopping(after: int) -> Any:
        left = iter(range(after))

        def add_or_stop(self: LabelStore, *args: Any, **fields: Any) -> Label:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return add(self, *args, **fields)

        return add_or_stop

    for labels_said in (0, 1, 4, 2):
        monkeypatch.setattr(LabelStore, "add_label", stopping(labels_said))
        with pytest.raises(KeyboardInterrupt):
            played.annotate()
    monkeypatch.setattr(LabelStore, "add_label", add)
    played.annotate()
    assert played.corrections() == unbroken.corrections()
    assert len(played.said()) == len(unbroken.said())


def test_what_another_configuration_marked_in_a_stopped_run_is_taken_back(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = LabelStore.add_label

    def stopping(self: LabelStore, kind: Any, **fields: Any) -> Label:
        if kind == "verdict":
            raise KeyboardInterrupt
        return add(self, kind, **fields)

    monkeypatch.setattr(LabelStore, "add_label", stopping)
    with pytest.raises(KeyboardInterrupt):
        played.annotate(ScriptedExpertConfig(accuracy=0.0))
    monkeypatch.setattr(LabelStore, "add_label", add)
    spoiled = played.corrections()
    summary = played.annotate()
    assert summary.withdrawn == len(set(spoiled) - set(played.corrections())) > 0
    assert len(played.corrections()) == summary.wrong
    assert all(correction.reason != next(iter(spoiled.values())).reason for correction in played.corrections().values())


def test_a_play_that_cannot_be_replayed_is_named_and_the_others_gone_through(played: Played) -> None:
    first = played.manifest.plays[0]
    log = closed_log_path(played.sessions / first.session_id, first.play_id)
    log.write_bytes(gzip.compress(gzip.decompress(log.read_bytes())[:-40]))
    summary = played.annotate()
    assert summary.plays == EPISODES
    assert [one.play_id for one in summary.left_out] == [first.play_id]
    assert str(log) in summary.left_out[0].reason


def test_a_play_nobody_knows_is_refused(played: Played) -> None:
    with pytest.raises(UserError, match="play 'nosuch'"):
        played.annotate(plays=["nosuch"])
    assert played.said() == []


def test_what_a_person_decided_for_the_partner_is_not_judged(tmp_path: Path) -> None:
    collected = Collected(Store.at(tmp_path / "overridden"))

    def with_an_override(player: Any) -> None:
        player.decide("Close[nothing_1]")
        player.override("Done[]")
        player.run(5)

    play = collected.play(generate_episode("train", 0), "ann", through=with_an_override)
    manifest = collect_plays(collected.labels, collected.store.iteration("planner", 0))
    summary = Played(collected, manifest, set()).annotate()
    assert (summary.decisions, summary.corrections) == (1, 1)
    assert Played(collected, manifest, set()).corrections().keys() == {(play.id, 0)}
