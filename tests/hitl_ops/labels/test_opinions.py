"""Everybody's last word on a decision, and how far people agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from hitl_ops.contracts.correction import (
    AnnotationFinished,
    DecisionCorrection,
    PlayReview,
    join_label_ids,
    prompt_hash,
    split_label_ids,
)
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.opinions import Opinions, agreement, annotation_target, opinions, review_target
from hitl_ops.labels.rows import EpisodePlay, Label, SessionRow

PROMPT = "Next Agent_Action:<act>"


class Sayings:
    """Plays, and what is said about them."""

    def __init__(self, store: LabelStore, session: SessionRow) -> None:
        self.store = store
        self.session = session
        self._numbers = itertools.count()

    def play(self) -> EpisodePlay:
        row = self.store.start_play(self.session.id, "e1", 1)
        return self.store.finish_play(row.id, percent_complete=0.5, success=False, ended_by="skip", seconds=3.0)

    def _add(self, kind: Any, annotator: str, value: dict[str, Any], seconds: float, **about: Any) -> Label:
        return self.store.add_label(
            kind,
            program="planner",
            iteration=1,
            annotator=annotator,
            client_key=f"k{next(self._numbers)}",
            value=value,
            seconds=seconds,
            **about,
        )

    def mark(
        self, play: EpisodePlay, index: int, corrected: str, annotator: str = "eva", seconds: float = 2.0
    ) -> Label:
        said = DecisionCorrection(
            verdict="error" if corrected else "withdrawn",
            original="Pick[mug_1]",
            corrected=corrected,
            reason="",
            policy_id="p",
            prompt_hash=prompt_hash(PROMPT),
        )
        about = {"episode_play_id": play.id, "decision_index": index}
        return self._add("correction", annotator, said.model_dump(mode="json"), seconds, **about)

    def override(self, play: EpisodePlay, index: int, replaces: int | None, corrected: str) -> Label:
        value = {
            "decision_index": index,
            "replaces": replaces,
            "original": "Pick[mug_1]" if replaces is not None else "",
            "corrected": corrected,
            "policy_id": "p",
            "by": "ann",
            "tick": 9,
            "asked_tick": 3,
            "prompt": PROMPT,
            "admissible": [corrected],
        }
        return self._add("correction", "ann", value, 0.0, episode_play_id=play.id, decision_index=index)

    def review(self, play: EpisodePlay, annotator: str = "eva", status: Any = "finished") -> Label:
        value = PlayReview(status=status).model_dump(mode="json")
        return self._add("verdict", annotator, value, 1.0, episode_play_id=play.id, target=review_target(play.id))

    def close(self, annotator: str, iteration: int = 1) -> Label:
        value = AnnotationFinished().model_dump(mode="json")
        return self._add("verdict", annotator, value, 0.0, target=annotation_target("planner", iteration))

    @property
    def all(self) -> Opinions:
        return opinions(self.store, "planner", 1)


@pytest.fixture
def people(store: LabelStore, admit: Callable[..., SessionRow]) -> Sayings:
    return Sayings(store, admit())


def test_of_each_annotator_the_last_word_stands(people: Sayings) -> None:
    play = people.play()
    assert people.all.plays == {} and people.all.last_label_id == 0
    people.mark(play, 3, "Wait[]")
    last = people.mark(play, 3, "Explore[kitchen_1]")
    other = people.mark(play, 3, "Wait[]", "bob")
    said = people.all.plays[play.id].decisions[3]
    assert {name: (one.corrected, one.label_id) for name, one in said.items()} == {
        "eva": ("Explore[kitchen_1]", last.id),
        "bob": ("Wait[]", other.id),
    }
    assert (said["eva"].original, said["eva"].policy_id, said["eva"].in_play) == ("Pick[mug_1]", "p", False)
    people.mark(play, 3, "", "bob")
    assert people.all.plays[play.id].votes(3) == {"eva": "Explore[kitchen_1]"}
    assert people.all.plays[play.id].errors == 1
    assert people.all.last_label_id == other.id + 1
    assert people.all.seconds == 8.0


def test_whoever_finished_a_play_holds_the_rest_for_right(people: Sayings) -> None:
    play = people.play()
    people.mark(play, 3, "Wait[]")
    people.review(play)
    people.review(play, "bob")
    people.review(play, "cleo", "skipped")
    said = people.all.plays[play.id]
    assert said.reviewers == ["bob", "eva"]
    assert said.votes(3) == {"eva": "Wait[]", "bob": ""}
    assert said.votes(4) == {"eva": "", "bob": ""}
    people.mark(play, 3, "")
    people.review(play, "bob", "skipped")
    assert people.all.plays[play.id].votes(3) == {"eva": ""}
    assert people.all.reviewed == [play.id]


def test_what_is_chosen_in_a_play_is_about_what_it_replaced(people: Sayings) -> None:
    play = people.play()
    people.override(play, 5, 4, "Wait[]")
    people.override(play, 7, None, "Explore[kitchen_1]")
    people.review(play, "bob")
    said = people.all.plays[play.id]
    assert {index: one["ann"].done_instead for index, one in said.decisions.items()} == {4: 5, 7: 7}
    assert said.decisions[4]["ann"].prompt_hash == prompt_hash(PROMPT)
    assert said.overridden == {4, 7}
    # Bob saw that it had been corrected already: he says nothing by his silence.
    assert said.votes(4) == {"ann": "Wait[]"}
    people.mark(play, 4, "Explore[bedroom_1]", "bob")
    assert people.all.plays[play.id].votes(4) == {"bob": "Explore[bedroom_1]"}
    assert people.all.plays[play.id].errors == 1


def test_other_labels_of_these_kinds_say_nothing_here(people: Sayings) -> None:
    play = people.play()
    people._add("verdict", "eva", {"good": True}, 1.0, episode_play_id=play.id)
    people._add("verdict", "eva", {"origin": "annotation", "status": "finished"}, 1.0, target="clip/1")
    people._add("correction", "eva", {"text": "no"}, 1.0, episode_play_id=play.id, decision_index=1)
    people._add("correction", "eva", {"origin": "annotation"}, 1.0, episode_play_id=play.id, decision_index=1)
    people._add("correction", "eva", {"origin": "annotation"}, 1.0, episode_play_id=play.id)
    assert not people.all.reviewed and not people.all.closed_by
    assert all(not said.decisions for said in people.all.plays.values())


def test_another_iteration_is_another_matter(people: Sayings) -> None:
    people.mark(people.play(), 3, "Wait[]")
    assert opinions(people.store, "planner", 2) == Opinions("planner", 2)


def test_a_withdrawn_play_is_no_longer_spoken_of(people: Sayings) -> None:
    gone, stays = people.play(), people.play()
    people.mark(gone, 3, "Wait[]")
    people.mark(stays, 3, "Wait[]")
    people.store.withdraw_play(gone.id, "", "ann")
    assert list(people.all.plays) == [stays.id]


def test_closing_by_hand_is_told(people: Sayings) -> None:
    assert people.all.closed_by == []
    for name in ("eva", "bob", "eva"):
        people.close(name)
    people.close("cleo", iteration=2)
    assert people.all.closed_by == ["bob", "eva"]


def test_the_hash_follows_what_is_said(people: Sayings) -> None:
    play = people.play()
    seen = [people.all.hash]

    def changed() -> bool:
        seen.append(people.all.hash)
        return seen.count(seen[-1]) == 1

    people.mark(play, 3, "Wait[]")
    assert changed()
    assert people.all.hash == seen[-1]
    people.mark(play, 3, "Explore[kitchen_1]")
    assert changed()
    people.review(play)
    assert changed()
    people.close("eva")
    assert not changed()  # nothing is taught otherwise because somebody says that they are through
    people.mark(play, 3, "")
    assert changed()
    people.store.withdraw_play(play.id, "", "ann")
    assert changed() is False and seen[-1] == seen[0]


def test_agreement_is_counted_by_hand(people: Sayings) -> None:
    first, second = people.play(), people.play()
    # Ten decisions both judged: both mark 0 alike and 1 otherwise, eva alone 2 and 3, bob alone 4.
    for index, name, action in (
        (0, "eva", "Wait[]"), (0, "bob", "Wait[]"), (1, "eva", "Wait[]"), (1, "bob", "Explore[kitchen_1]"),
        (2, "eva", "Wait[]"), (3, "eva", "Wait[]"), (4, "bob", "Wait[]"),
    ):  # fmt: skip
        people.mark(first, index, action, name)
    people.override(first, 11, 10, "Wait[]")
    for name in ("eva", "bob"):
        people.review(first, name)
    people.review(second, "eva")
    figures = agreement(people.all, {first.id: range(11), second.id: range(5)})
    assert (figures.plays, figures.decisions) == (1, 10)
    assert figures.alike == pytest.approx(6 / 10)
    chance = 0.4 * 0.3 + 0.6 * 0.7
    assert figures.kappa == pytest.approx((0.7 - chance) / (1 - chance))


def test_agreement_of_nobody_or_on_nothing_is_not_defined(people: Sayings) -> None:
    play = people.play()
    people.review(play)
    assert agreement(people.all, {play.id: range(3)}).model_dump() == {
        "plays": 0, "decisions": 0, "alike": None, "kappa": None,
    }  # fmt: skip
    people.review(play, "bob")
    figures = agreement(people.all, {play.id: range(3)})
    assert (figures.alike, figures.kappa) == (1.0, None)  # nobody marked anything: chance agrees as well


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corrected": ""}, "needs the action"),
        ({"corrected": "Pick[mug_1]"}, "what the policy chose"),
        ({"verdict": "withdrawn"}, "corrects nothing"),
        ({"prompt_hash": "0"}, "pattern"),
        ({"reason": "x" * 2001}, "at most 2000"),
        ({"colour": "red"}, "not permitted"),
    ],
)
def test_a_correction_says_something_and_only_that(changes: dict[str, Any], said: str) -> None:
    sound = {
        "verdict": "error",
        "original": "Pick[mug_1]",
        "corrected": "Wait[]",
        "policy_id": "p",
        "prompt_hash": prompt_hash(PROMPT),
    }
    DecisionCorrection.model_validate(sound)
    with pytest.raises(ValidationError, match=said):
        DecisionCorrection.model_validate({**sound, **changes})


def test_label_ids_come_back() -> None:
    assert split_label_ids(join_label_ids([12, 3, 12])) == [3, 12]
    assert join_label_ids([3, 12]) == "3,12"
    assert split_label_ids(join_label_ids([])) == []
