"""What people have compared stays in a set that takes another's place."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.preference import PreferenceValue
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import CLIPS_FILE
from hitl_ops.samples.compared_clips import compared_clips, with_compared
from tests.support.clip_sets import make_clip_set, make_clips


def test_compared_clips_are_kept_unless_the_new_set_has_them(tmp_path: Path) -> None:
    clip_set = make_clip_set(tmp_path / "set", 5, 1, steps=3)
    left, right, other = list(clip_set.clips.values())[:3]
    said = PreferenceValue(pair_id="p", left=left.clip_id, right=right.clip_id, left_hash=left.content_hash,
                           right_hash=right.content_hash, choice="tie")  # fmt: skip
    stale = said.model_copy(update={"left": other.clip_id, "left_hash": "0" * 64})
    words = [Preference(1, "station", 0, "ann", said, 1.0), Preference(2, "station", 0, "ann", stale, 1.0)]
    compared = compared_clips(clip_set.root, words)
    assert [clip.facts for clip in compared] == [left, right], "what was said of other numbers keeps nothing"
    new = make_clips(2, steps=3, first=1)
    assert [clip.facts.clip_id for clip in with_compared(new, compared)] == ["clip-0001", "clip-0002", "clip-0000"]
    assert compared_clips(clip_set.root, []) == []
    (clip_set.root / CLIPS_FILE).unlink()
    assert compared_clips(clip_set.root, words) == [], "a damaged set is made anew"
