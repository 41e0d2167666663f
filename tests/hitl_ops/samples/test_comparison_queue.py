"""Which pair somebody is asked next: what nobody else has, some twice, with sides by lot that names alone decide."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.preference import Choice, PreferenceValue
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import ClipSet
from hitl_ops.samples.comparison_queue import (
    ComparisonQueue,
    ComparisonSettings,
    Question,
    fits,
    is_asked_again,
    people_wanted,
    sides,
)
from tests.support.clip_sets import make_clip_set

PAIRS = 24


@pytest.fixture(scope="module")
def clip_set(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    return make_clip_set(tmp_path_factory.mktemp("set"), 12, PAIRS, steps=2)


class Room:
    """People who are asked one after another, and what stands of their words."""

    def __init__(self, clip_set: ClipSet, settings: ComparisonSettings) -> None:
        self.clip_set, self.settings = clip_set, settings
        self.words: list[Preference] = []

    @property
    def queue(self) -> ComparisonQueue:
        return ComparisonQueue(self.clip_set, self.words, self.settings)

    def value(self, question: Question, choice: Choice | None = None) -> PreferenceValue:
        clips = self.clip_set.clips
        return PreferenceValue(
            pair_id=question.pair.pair_id,
            left=question.left,
            right=question.right,
            left_hash=clips[question.left].content_hash,
            right_hash=clips[question.right].content_hash,
            # They mean the clip, whatever side it stands on.
            choice=choice or ("left" if question.left < question.right else "right"),
            repeat=question.repeat,
        )

    def say(self, annotator: str, question: Question, choice: Choice | None = None) -> None:
        number = len(self.words) + 1
        self.words.append(Preference(number, "preference", 0, annotator, self.value(question, choice), 1.0))

    def ask(self, annotator: str, choice: Choice | None = None) -> Question | None:
        found = self.queue.next_for(annotator, 1)
        if found:
            self.say(annotator, found[0], choice)
        return found[0] if found else None


@settings(max_examples=12, deadline=None)
@given(
    people=st.integers(1, 3),
    overlap=st.sampled_from((0.0, 0.1, 0.5, 1.0)),
    repeats=st.sampled_from((0.0, 0.2, 1.0)),
    seed=st.integers(0, 1000),
)
def test_everything_is_asked_as_often_as_wanted_and_never_twice_of_one_person(
    clip_set: ClipSet, people: int, overlap: float, repeats: float, seed: int
) -> None:
    wanted = ComparisonSettings(people_per_pair=people, overlap=overlap, repeats=repeats, repeat_after=5)
    room = Room(clip_set, wanted)
    idle: set[str] = set()
    turns = random.Random(seed)
    names = ["Kim", "Lee", "Ada"]
    while len(idle) < len(names):
        name = turns.choice(names)
        if room.ask(name) is None:
            idle.add(name)
        else:
            idle.discard(name)
    asked = [(word.annotator, word.said.pair_id, word.said.repeat) for word in room.words]
    assert len(set(asked)) == len(asked)
    for pair in clip_set.pairs:
        first = [word for word in room.words if word.said.pair_id == pair.pair_id and not word.said.repeat]
        assert len(first) == people_wanted(pair.pair_id, wanted)
    so_far = room.queue.so_far
    assert so_far.answers == so_far.wanted == sum(people_wanted(pair.pair_id, wanted) for pair in clip_set.pairs)
    assert so_far.pairs_done == PAIRS
    for word in room.words:
        if word.said.repeat:
            [before] = [one for one in room.words if one.annotator == word.annotator
                        and one.said.pair_id == word.said.pair_id and not one.said.repeat]  # fmt: skip
            assert (word.said.left, word.said.right) == (before.said.right, before.said.left), "sides are changed"
            between = [
                one for one in room.words[before.label_id : word.label_id - 1] if one.annotator == word.annotator
            ]
            assert sum(not one.said.repeat for one in between) >= wanted.repeat_after
            assert is_asked_again(word.said.pair_id, word.annotator, wanted)
    if repeats == 1.0:
        for name in names:
            own = [word for word in room.words if word.annotator == name and not word.said.repeat]
            again = [word for word in room.words if word.annotator == name and word.said.repeat]
            assert len(again) == max(0, len(own) - wanted.repeat_after)


def test_shares_are_what_was_set_and_depend_on_names_alone(clip_set: ClipSet) -> None:
    names = [f"pair-{number}" for number in range(4000)]
    wanted = ComparisonSettings(overlap=0.1, repeats=0.05)
    twice = sum(people_wanted(name, wanted) == 2 for name in names)
    assert abs(twice / 4000 - 0.1) < 0.02
    assert all(people_wanted(name, ComparisonSettings(people_per_pair=3, overlap=1.0)) == 3 for name in names)
    again = {who: {name for name in names if is_asked_again(name, who, wanted)} for who in ("Kim", "Lee")}
    assert all(abs(len(found) / 4000 - 0.05) < 0.015 for found in again.values()) and again["Kim"] != again["Lee"]
    pair = clip_set.pairs[0]
    flipped = [sides(pair, f"person-{number}") == (pair.right, pair.left) for number in range(1000)]
    assert 400 < sum(flipped) < 600
    assert sides(pair, "Kim") == sides(pair, "Kim") and set(sides(pair, "Kim")) == {pair.left, pair.right}


def test_what_others_hold_and_what_one_holds_is_not_handed_out(clip_set: ClipSet) -> None:
    room = Room(clip_set, ComparisonSettings(overlap=0.0))
    first = room.queue.next_for("Kim", 3)
    assert [one.pair.pair_id for one in first] == [pair.pair_id for pair in clip_set.pairs[:3]]
    more = room.queue.next_for("Kim", 2, besides=[one.key for one in first])
    assert [one.pair.pair_id for one in more] == [pair.pair_id for pair in clip_set.pairs[3:5]]
    held = {one.pair.pair_id for one in first}
    assert room.queue.next_for("Lee", 1, taken=held)[0].pair == clip_set.pairs[3]
    room.say("Kim", first[0])
    assert room.queue.next_for("Lee", 1)[0].pair == clip_set.pairs[1], "one answer is enough of this pair"
    everything = {pair.pair_id for pair in clip_set.pairs}
    assert room.queue.next_for("Lee", 1, taken=everything) == []


@pytest.mark.parametrize("choice", ["left", "tie", "cant_tell"])
def test_whoever_says_nothing_to_learn_from_leaves_all_of_it_to_others(clip_set: ClipSet, choice: Choice) -> None:
    room = Room(clip_set, ComparisonSettings(overlap=0.0, repeats=0.0))
    while room.ask("Kim", choice):
        pass
    assert len(room.words) == PAIRS, "nobody is asked anything twice"
    assert (room.queue.so_far.answers, room.queue.so_far.pairs_done) == (0, 0)
    offered = [one.pair for one in room.queue.next_for("Lee", 1000)]
    assert offered == list(clip_set.pairs)
    assert room.ask("Lee") is not None
    left = len(room.queue.next_for("Ada", 1000))
    # A tie teaches that both are worth the same, once somebody has said what is worth more.
    assert left == (0 if choice == "tie" else PAIRS - 1)
    while room.ask("Lee"):
        pass
    assert room.queue.so_far.pairs_done == PAIRS and room.queue.next_for("Ada", 1) == []


def test_words_on_other_clips_do_not_count_and_pairs_left_out_are_not_asked(clip_set: ClipSet, tmp_path: Path) -> None:
    room = Room(clip_set, ComparisonSettings(overlap=0.0, repeats=1.0, repeat_after=1))
    for _ in range(4):
        assert room.ask("Kim") is not None
    other = make_clip_set(tmp_path / "other", 12, PAIRS, steps=3)
    assert [pair.pair_id for pair in other.pairs] == [pair.pair_id for pair in clip_set.pairs]
    assert not any(fits(word.said, other) for word in room.words), "of the same name, and other clips"
    assert ComparisonQueue(other, room.words, room.settings).so_far.answers == 0
    swapped = room.words[0].said.model_copy(update={"left_hash": room.words[0].said.right_hash})
    assert not fits(swapped, clip_set)

    without = {clip_set.pairs[0].pair_id, clip_set.pairs[5].pair_id}
    queue = ComparisonQueue(clip_set, room.words, room.settings, without)
    assert queue.so_far.wanted == PAIRS - 2
    offered = {one.pair.pair_id for one in queue.next_for("Kim", 1000)}
    assert not offered & without, "neither at first nor again"
    assert ComparisonQueue(clip_set, [], room.settings, {pair.pair_id for pair in clip_set.pairs}).pairs == []
