"""What a policy's provenance says of comparisons: as much as the reward made of them, and no more."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.preference import Choice
from hitl_ops.labels.preferences import Preference
from hitl_ops.training.publish_reach_policy import HELD_OUT, LEFT_OUT, SOURCE, provenance_rows
from hitl_ops.training.reward_data import preference_data
from tests.support.clip_sets import make_clip_set
from tests.support.preference_store import said_of

CHOICES: tuple[Choice, ...] = ("left", "tie", "cant_tell")


def test_weights_are_those_that_were_used_and_what_was_held_out_is_marked(tmp_path: Path) -> None:
    found = make_clip_set(tmp_path / "clips", 12, 30, steps=2)
    words = []
    for number, pair in enumerate(found.pairs):
        who = ("ada", "bob")[number % 2]
        said = said_of(found, pair, CHOICES[number % 3], repeat=number == 1)
        words.append(Preference(100 + number, "preference", 0, who, said, 1.0))
    clips = {clip.facts.clip_id: clip for clip in found.all_clips()}
    data = preference_data(words, clips, 0.3, {"ada": 1.5, "bob": 0.0})
    rows = provenance_rows(words, data)
    assert [row["label_id"] for row in rows] == [str(word.label_id) for word in words]
    learned = {label for label, out in zip(data.label_ids, data.validation, strict=True) if not out}
    assert 0 < len(learned) < len(data.label_ids) < len(words)
    for row, word in zip(rows, words, strict=True):
        if word.said.choice == "cant_tell":
            assert (row["source"], row["weight"]) == (LEFT_OUT, 0.0)
        elif word.label_id in learned:
            assert (row["source"], row["weight"]) == (SOURCE, {"ada": 1.5, "bob": 0.0}[word.annotator])
        else:
            assert (row["source"], row["weight"]) == (HELD_OUT, 0.0)
    assert rows[1]["sample_id"] == f"{found.pairs[1].pair_id}/again/bob"
    assert provenance_rows([], None) == []
