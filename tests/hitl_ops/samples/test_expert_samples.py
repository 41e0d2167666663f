"""Corrections become samples with the very prompt the policy chose from, and preference pairs; the rest is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts.decision import Decision
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.contracts.sample import Sample
from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.traces import read_trace
from hitl_ops.rollouts.partner_decisions import OVERRIDDEN, OVERRIDE
from hitl_ops.samples.collected_plays import PlayManifest, collect_plays
from hitl_ops.samples.expert import PAIRS_FILE, ExpertConfig, ExpertSummary, build_expert_samples
from hitl_ops.samples.parquet import read_manifest, read_samples
from hitl_ops.samples.preference_pairs import pairs_hash, read_preference_pairs, write_preference_pairs
from tests.support.annotations import another, made_in, mark, review, said_in
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode


def _wanders(player: Player) -> None:
    """The partner looks around and tries what it cannot do."""
    player.partner_does("Explore[kitchen_1]")
    player.partner_does("Open[bedroom_bed_1]")
    player.partner_does("Explore[bedroom_1]")


def _is_overridden(player: Player) -> None:
    """The person decides three times for the partner: in place of a walk, of no reply yet, and what cannot be done."""

    def instead(action: str, index: int) -> None:
        player.override(action, decision_index=index)
        while player.session.partner_status().status == "acting":
            player.run(1)

    player.decide("Explore[bedroom_1]")  # 0
    player.run(5)
    instead("Explore[kitchen_1]", 0)  # 1
    instead("Navigate[bedroom_bed_1]", 1)  # 2
    player.decide("Explore[bedroom_1]")  # 3
    player.run(5)
    instead("Open[bedroom_bed_1]", 3)  # 4


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Collected, list[EpisodePlay]]:
    collected = Collected(Store.at(tmp_path_factory.mktemp("expert")), iteration=2)
    plays = [
        collected.play(small_episode(), "ann", through=_wanders),
        collected.play(small_episode(), "bob", through=_is_overridden),
    ]
    collected.labels.close()
    return collected, plays


class Room:
    """Plays, annotators, and the samples made of what they say."""

    def __init__(self, collected: Collected, plays: list[EpisodePlay], out: Path) -> None:
        self.collected = collected
        self.plays = plays
        self.out = out / "expert.parquet"
        self.manifest: PlayManifest = collect_plays(collected.labels, collected.store.iteration("planner", 2))

    def made(self, play: int = 0) -> list[Decision]:
        return made_in(self.collected, self.plays[play])

    def mark(self, index: int, corrected: str | None = None, annotator: str = "eva", play: int = 0, **more: Any) -> Any:
        return mark(self.collected, self.plays[play], self.made(play)[index], corrected, annotator=annotator, **more)

    def review(self, annotator: str, play: int = 0) -> None:
        review(self.collected, self.plays[play], annotator)

    def build(self, **config: Any) -> tuple[ExpertSummary, list[Sample], list[PreferencePair]]:
        expected = config.pop("expected", None)
        summary = build_expert_samples(
            self.manifest,
            self.collected.sessions,
            said_in(self.collected),
            ExpertConfig(**config),
            self.out,
            expected=expected,
        )
        return summary, list(read_samples(self.out)), list(read_preference_pairs(self.out.with_name(PAIRS_FILE)))


@pytest.fixture
def room(sound: tuple[Collected, list[EpisodePlay]], tmp_path: Path) -> Room:
    shutil.copytree(sound[0].store.root, tmp_path / "store")
    copied = Collected(Store.at(tmp_path / "store"), iteration=2, people=dict(sound[0].people))
    return Room(copied, sound[1], tmp_path)


def _say_what_the_app_says(room: Room, play: int = 1) -> None:
    """The labels the app writes of decisions made in a play."""
    from hitl_ops.rollouts.session_replay import replay
    from ui_collect.corrections import corrections_of

    row = room.plays[play]
    live = replay(room.collected.files(row)["log"]).session
    for number, value in enumerate(corrections_of(live)):
        room.collected.labels.add_label(
            "correction",
            program="planner",
            iteration=2,
            annotator="bob",
            client_key=f"{row.id}-{number}",
            value=value,
            session_id=row.session_id,
            episode_play_id=row.id,
            decision_index=value["decision_index"],
        )


def test_a_correction_trains_on_exactly_what_the_policy_saw(room: Room) -> None:
    decision = room.made()[1]
    right = another(decision)
    label = room.mark(1, right)
    summary, (sample,), (pair,) = room.build()
    trace = read_trace(room.collected.files(room.plays[0])["trace"])
    logged = next(one for one in trace.decisions if one.index == decision.index)
    assert sample.prompt == logged.prompt and sample.completion == f"{right}<end_act>"
    assert (sample.source, sample.weight, sample.iteration) == ("expert", 5.0, 2)
    assert (sample.step, sample.agent, sample.trace) == (decision.index, 1, f"{room.plays[0].id}.jsonl.gz")
    assert (sample.label_id, sample.policy_id, sample.episode_id) == (str(label.id), "policy-1", "bring_the_mug")
    assert sample.sample_id == f"bring_the_mug/{room.plays[0].id}/{decision.index}/expert"
    assert (pair.prompt, pair.chosen, pair.rejected) == (
        sample.prompt,
        sample.completion,
        f"{decision.action}<end_act>",
    )
    assert (pair.label_ids, pair.weight, pair.play_id) == (str(label.id), 1.0, room.plays[0].id)
    assert (summary.samples, summary.pairs, summary.corrected, summary.plays, summary.dropped) == (1, 1, 1, 1, {})
    assert (summary.by_annotator, summary.by_tool) == ({"eva": 1}, {right.partition("[")[0]: 1})
    assert summary.seconds == 4.0
    assert summary.manifest_hash == read_manifest(room.out).hash
    assert summary.opinions_hash == read_manifest(room.out).notes["opinions_hash"]


def test_the_same_words_give_the_same_bytes(room: Room) -> None:
    for index in (2, 0):
        room.mark(index)
    room.build()
    before = [room.out.read_bytes(), room.out.with_name(PAIRS_FILE).read_bytes()]
    _, samples, _ = room.build()
    assert [room.out.read_bytes(), room.out.with_name(PAIRS_FILE).read_bytes()] == before
    assert [sample.step for sample in samples] == sorted(sample.step for sample in samples)


def test_weights_are_the_configurations(room: Room) -> None:
    room.mark(0)
    _, (sample,), (pair,) = room.build(weight=2.5, pair_weight=0.25)
    assert (sample.weight, pair.weight) == (2.5, 0.25)


def test_without_a_correction_the_files_are_empty(room: Room) -> None:
    room.review("eva")
    room.mark(0)
    room.mark(0, "")
    summary, samples, pairs = room.build()
    assert (summary.samples, summary.corrected, summary.reviewed, samples, pairs) == (0, 0, 1, [], [])


def test_most_votes_decide_and_a_tie_decides_nothing(room: Room) -> None:
    first, second = another(room.made()[0]), another(room.made()[0], 1)
    labels = [room.mark(0, first, "eva"), room.mark(0, first, "dan")]
    room.mark(0, second, "cleo")
    summary, (sample,), _ = room.build()
    assert sample.completion == f"{first}<end_act>"
    assert sample.label_id == ",".join(str(label.id) for label in labels)
    assert (summary.several, summary.by_annotator) == (1, {"dan": 1, "eva": 1})
    room.mark(0, second, "fay")
    summary, samples, pairs = room.build()
    assert (samples, pairs, summary.dropped) == ([], [], {"tie": 1})
    (left,) = summary.left_out
    assert (left.play_id, left.decision, left.annotators) == (
        room.plays[0].id,
        room.made()[0].index,
        ["cleo", "dan", "eva", "fay"],
    )


def test_who_reviews_and_says_nothing_holds_it_for_right(room: Room) -> None:
    room.mark(0, annotator="eva")
    room.review("dan")
    assert room.build()[0].dropped == {"tie": 1}
    room.review("cleo")
    assert room.build()[0].dropped == {"held for right": 1}
    room.mark(0, annotator="dan")
    assert room.build()[0].samples == 1


def test_so_many_must_agree(room: Room) -> None:
    room.mark(0, annotator="eva")
    assert room.build(least_annotators=2)[0].dropped == {"too few agree": 1}
    room.mark(0, annotator="dan")
    assert room.build(least_annotators=2)[0].samples == 1


def test_what_does_not_fit_the_record_is_named(room: Room) -> None:
    room.mark(0, prompt_hash="0" * 64)
    room.mark(1, "Pick[moon_1]")
    room.mark(2, original="Navigate[nowhere_1]", corrected=another(room.made()[2]))
    last = room.made()[2]
    mark(room.collected, room.plays[0], last.model_copy(update={"index": 99}), another(last))
    trace = read_trace(room.collected.files(room.plays[1])["trace"])
    summary, samples, _ = room.build()
    assert samples == []
    assert [one.reason for one in summary.left_out] == [
        "other prompt",
        "not admissible",
        "other action",
        "no such decision",
    ]
    assert [one.decision for one in summary.left_out[:3]] == [one.index for one in room.made()]
    assert {one.play_id for one in summary.left_out} == {room.plays[0].id}
    assert trace.decisions  # the other play was not spoken of


def test_what_the_person_did_is_not_the_policys(room: Room) -> None:
    def walks(player: Player) -> None:
        player.do("Navigate[bedroom_bed_1]")

    play = room.collected.play(small_episode(), "dora", through=walks)
    decision = next(one for one in read_trace(room.collected.files(play)["trace"]).decisions if one.role == "human")
    mark(room.collected, play, decision)
    room.manifest = collect_plays(room.collected.labels, room.collected.store.iteration("planner", 2))
    assert room.build()[0].dropped == {"not the policy's": 1}


def test_what_a_person_decided_for_the_partner_is_not_the_policys(room: Room) -> None:
    trace = read_trace(room.collected.files(room.plays[1])["trace"])
    assert trace.decisions[1].stats[OVERRIDE]
    mark(room.collected, room.plays[1], trace.decisions[1])
    assert room.build()[0].dropped == {"not the policy's": 1}


def test_what_was_decided_in_the_play_is_taught_where_it_succeeded(room: Room) -> None:
    trace = read_trace(room.collected.files(room.plays[1])["trace"])
    partners = [one for one in trace.decisions if one.role == "ai"]
    assert [bool(one.stats.get(OVERRIDE)) for one in partners] == [False, True, True, False, True]
    assert trace.decisions[0].response == OVERRIDDEN
    _say_what_the_app_says(room)
    summary, samples, pairs = room.build()
    assert [(one.step, one.completion) for one in samples] == [
        (1, "Explore[kitchen_1]<end_act>"),
        (2, "Navigate[bedroom_bed_1]<end_act>"),
    ]
    # Where the policy had not replied there is nothing to prefer it to.
    assert [(one.step, one.chosen, one.rejected) for one in pairs] == [
        (1, "Explore[kitchen_1]<end_act>", "Explore[bedroom_1]<end_act>")
    ]
    assert samples[0].prompt == trace.decisions[0].prompt == trace.decisions[1].prompt
    assert {one.policy_id for one in samples} == {"policy-1"}
    assert (summary.in_play, summary.by_annotator) == (2, {"bob": 2})
    (left,) = summary.left_out
    assert left.decision == 3 and left.reason in ("not admissible", "failed in the play")
    without, samples, _ = room.build(in_play=False)
    assert (samples, without.dropped) == ([], {"decided in the play": 3})


def test_an_annotators_word_goes_before_what_was_decided_in_the_play(room: Room) -> None:
    _say_what_the_app_says(room)
    others = [one for one in room.made(1)[0].admissible if one not in ("Explore[bedroom_1]", "Explore[kitchen_1]")]
    right = others[0]
    room.mark(0, right, play=1)
    _, samples, pairs = room.build()
    assert [(one.step, one.completion) for one in samples] == [
        (0, f"{right}<end_act>"),
        (2, "Navigate[bedroom_bed_1]<end_act>"),
    ]
    assert [(one.chosen, one.rejected) for one in pairs] == [(f"{right}<end_act>", "Explore[bedroom_1]<end_act>")]


def test_withdrawn_plays_and_other_episodes_teach_nothing(room: Room) -> None:
    room.mark(0)
    assert room.build(expected={"bring_the_mug"})[0].samples == 1
    assert room.build(expected={"another"})[0].dropped == {"episode not expected": 1}
    said = said_in(room.collected)
    room.collected.labels.withdraw_play(room.plays[0].id, "", "ann")
    assert room.build()[0].samples == 0
    room.manifest = collect_plays(room.collected.labels, room.collected.store.iteration("planner", 2))
    assert room.manifest.withdrawn == [room.plays[0].id]
    assert [play.play_id for play in room.manifest.plays] == [room.plays[1].id]
    # Taken back between the two looks.
    summary = build_expert_samples(room.manifest, room.collected.sessions, said, ExpertConfig(), room.out)
    assert summary.dropped == {"play not listed": 1}


def test_dialects_are_noted_and_not_mixed(room: Room) -> None:
    room.mark(0)
    plays = [room.manifest.plays[0].model_copy(update={"prompt_style": "snapshot"}), room.manifest.plays[1]]
    room.manifest = room.manifest.model_copy(update={"plays": plays})
    assert room.build()[0].prompt_style == "snapshot"
    assert read_manifest(room.out).notes["prompt_style"] == "snapshot"
    _say_what_the_app_says(room)
    with pytest.raises(UserError, match=r"2 dialects of prompts \(incremental, snapshot\)"):
        room.build()


# --- pairs ------------------------------------------------------------------------------------------------------


def _pair(**changes: Any) -> PreferencePair:
    fields: dict[str, Any] = {
        "pair_id": "e/p/0/pair", "episode_id": "e", "split": "train", "scene_id": "home", "task_type": "spatial",
        "iteration": 1, "play_id": "p", "step": 0, "agent": 1, "prompt": "<act>", "chosen": "Wait[]<end_act>",
        "rejected": "Done[]<end_act>", "weight": 1.0, "policy_id": "policy-1", "trace": "p.jsonl.gz", "label_ids": "1",
    }  # fmt: skip
    return PreferencePair.model_validate({**fields, **changes})


def test_pairs_come_back_and_are_known_by_their_hash(tmp_path: Path) -> None:
    file = tmp_path / PAIRS_FILE
    pairs = [_pair(), _pair(pair_id="e/p/1/pair", step=1)]
    digest = write_preference_pairs(file, pairs, prompt_style="incremental")
    assert list(read_preference_pairs(file)) == pairs
    assert digest == pairs_hash(pairs[::-1])
    assert digest != pairs_hash([_pair(weight=2.0), pairs[1]])
    with pytest.raises(UserError, match=r"'e/p/0/pair' occurs twice"):
        write_preference_pairs(file, [pairs[0], pairs[0]], prompt_style="incremental")
    assert list(read_preference_pairs(file)) == pairs
    write_preference_pairs(file, [], prompt_style="incremental")
    assert list(read_preference_pairs(file)) == []


def test_a_pair_file_that_is_none_is_told(tmp_path: Path) -> None:
    from hitl_ops.samples.parquet import write_samples

    file = tmp_path / PAIRS_FILE
    with pytest.raises(UserError, match="does not exist"):
        list(read_preference_pairs(file))
    write_preference_pairs(file, [_pair()], prompt_style="incremental")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is corrupt"):
        list(read_preference_pairs(file))
    write_samples(file, [], prompt_style="incremental")
    with pytest.raises(UserError, match="is not of format flywheel-pairs-1"):
        list(read_preference_pairs(file))


def test_two_answers_are_two(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are the same"):
        _pair(rejected="Wait[]<end_act>")
