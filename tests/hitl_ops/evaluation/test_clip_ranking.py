"""The clip that is worth most stands first, and nothing that is no number stands anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.clip_ranking import mean_scores, rank_clips, ranking_table, write_ranking
from hitl_ops.records.clips import Clip
from tests.support.clip_sets import make_clip_set


def true_return(clip: Clip) -> float:
    assert clip.true_return is not None
    return clip.true_return


def test_clips_stand_in_the_order_of_their_worth(tmp_path: Path) -> None:
    clips = make_clip_set(tmp_path / "clips", clips=7, steps=[10, 20])
    ranked = rank_clips(clips, true_return)
    returns = {clip.facts.clip_id: true_return(clip) for clip in clips.all_clips()}
    assert [one.clip_id for one in ranked] == sorted(returns, key=lambda name: -returns[name])
    assert [one.place for one in ranked] == [1, 2, 3, 4, 5, 6, 7]
    assert all(one.per_step == pytest.approx(returns[one.clip_id] / one.steps) for one in ranked)
    write_ranking(ranked, tmp_path / "ranking.json")
    assert [one["clip_id"] for one in json.loads((tmp_path / "ranking.json").read_text())] == [
        one.clip_id for one in ranked
    ]
    assert mean_scores(ranked) == {"made-up": pytest.approx(np.mean([one.per_step for one in ranked]))}


def test_equal_clips_share_a_place(tmp_path: Path) -> None:
    clips = make_clip_set(tmp_path / "clips", clips=4, steps=5)
    ranked = rank_clips(clips, lambda clip: float(clip.facts.clip_id == "clip-0002"))
    assert [(one.place, one.clip_id) for one in ranked] == [
        (1, "clip-0002"),
        (2, "clip-0000"),
        (2, "clip-0001"),
        (2, "clip-0003"),
    ]


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    clips = make_clip_set(tmp_path / "clips", clips=3, steps=5)
    with pytest.raises(UserError, match="clip 'clip-0001' is worth nan"):
        rank_clips(clips, lambda clip: float("nan") if clip.facts.clip_id == "clip-0001" else 0.0)


def test_a_table_shows_both_ends(tmp_path: Path) -> None:
    clips = make_clip_set(tmp_path / "clips", clips=6, steps=5)
    ranked = rank_clips(clips, true_return)
    assert len(ranking_table(ranked).splitlines()) == 7
    lines = ranking_table(ranked, most=2).splitlines()
    assert [line.split()[0] for line in lines] == ["place", "1", "2", "…", "5", "6"]
    assert "2 more" in lines[3]
    assert ranked[0].clip_id in lines[1] and ranked[-1].clip_id in lines[5]
