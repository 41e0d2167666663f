"""Scripted people compare as people do: shared out, asked again, each wrong as often as they are told to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import ClipFacts, ClipPair
from hitl_ops.labels.annotator_consistency import annotator_consistency
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import Preference, standing_preferences
from hitl_ops.records.clips import Clip, ClipSet, content_hash, open_clip_set, write_clip_set
from hitl_ops.samples.scripted_comparisons import ScriptedPeopleConfig, compare_by_script

PAIRS = 40


def _set(folder: Path, *, known: bool = True) -> ClipSet:
    clips = []
    for number in range(2 * PAIRS):
        seen, done = np.full((2, 3), number, np.float32), np.zeros((2, 2), np.float32)
        facts = ClipFacts(
            clip_id=f"c{number}",
            kind="reach",
            episode_id="reach/1",
            start=0,
            steps=2,
            fps=20,
            task="",
            policy_id="",
            content_hash=content_hash(seen, done),
        )
        clips.append(Clip(facts, seen, done, np.full(2, number, np.float32) if known else None))
    names = [clip.facts.clip_id for clip in clips]
    pairs = [
        ClipPair(pair_id=f"q{number}", left=names[2 * number], right=names[2 * number + 1], chosen_by="random")
        for number in range(PAIRS)
    ]
    write_clip_set(folder, clips, pairs)
    return open_clip_set(folder)


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[LabelStore]:
    opened = LabelStore.open(f"sqlite:///{tmp_path / 'labels.db'}")
    yield opened
    opened.close()


def _right(words: list[Preference]) -> list[bool]:
    """Whether each word names the truly better clip: the one with the higher number."""
    found = []
    for word in words:
        better = max((word.said.left, word.said.right), key=lambda name: int(name[1:]))
        found.append({"left": word.said.left, "right": word.said.right}[str(word.said.choice)] == better)
    return found


def test_they_share_the_pairs_and_go_on_where_they_stopped(labels: LabelStore, tmp_path: Path) -> None:
    config = ScriptedPeopleConfig(errors=0.0, people=("ada", "bob"), seconds=2.5)
    clip_set = _set(tmp_path / "clips")
    first = compare_by_script(labels, clip_set, 3, config, program="preference", limit=7)
    assert (first.answers, first.before, first.seconds, first.by_person) == (7, 0, 17.5, {"ada": 4, "bob": 3})
    rest = compare_by_script(labels, clip_set, 3, config, program="preference")
    assert (rest.answers, rest.before) == (PAIRS - 7, 7)
    assert compare_by_script(labels, clip_set, 3, config, program="preference").answers == 0
    words = standing_preferences(labels, "preference", 3)
    assert sorted(word.said.pair_id for word in words) == sorted(f"q{number}" for number in range(PAIRS))
    assert all(_right(words)) and {word.said.choice for word in words} == {"left", "right"}, "sides are changed by lot"


def test_overlap_and_repeats_show_how_far_they_can_be_relied_on(labels: LabelStore, tmp_path: Path) -> None:
    config = ScriptedPeopleConfig(errors=0.0, people=("ada", "bob"), overlap=0.5, repeats=0.5)
    compare_by_script(labels, _set(tmp_path / "clips"), 0, config, program="preference")
    found = annotator_consistency(standing_preferences(labels, "preference"))
    assert all(one.repeats == one.repeats_alike > 0 and not one.one_sided for one in found.values())
    both = found["ada"].with_others["bob"]
    assert both.pairs == both.alike > 5


@pytest.mark.parametrize("errors", [0.0, 0.3, 1.0])
def test_they_are_wrong_as_often_as_they_are_told(labels: LabelStore, tmp_path: Path, errors: float) -> None:
    config = ScriptedPeopleConfig(errors=errors)
    compare_by_script(labels, _set(tmp_path / "clips"), 0, config, program="preference")
    right = _right(standing_preferences(labels, "preference"))
    assert abs(sum(right) / PAIRS - (1 - errors)) <= (0.2 if 0 < errors < 1 else 0.0)


def test_without_a_truth_there_is_nothing_to_judge_by(labels: LabelStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no true return for a scripted person to judge by"):
        compare_by_script(
            labels, _set(tmp_path / "clips", known=False), 0, ScriptedPeopleConfig(), program="preference"
        )
