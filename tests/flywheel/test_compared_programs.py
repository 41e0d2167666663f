"""What stations recorded and how people played, compared, learned from and ranked, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flywheel.cli import run
from hitl_ops.contracts.preference import Choice, ClipPair, PreferenceValue
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import say_preference
from hitl_ops.records.clips import Clip, ClipSet, open_clip_set
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode
from tests.support.station_recordings import record, robot


def compare(store: Store, program: str, iteration: int, better: Callable[[Clip], float], pairs: int = 1000) -> ClipSet:
    """Somebody compares the first pairs of a set by what they hold better."""
    found = open_clip_set(store.iteration(program, iteration).clips)
    worth = {clip.facts.clip_id: better(clip) for clip in found.all_clips()}
    with closing(LabelStore.open(store.labels_url)) as labels:
        for number, pair in enumerate(found.pairs[:pairs]):
            choice: Choice = "left" if worth[pair.left] > worth[pair.right] else "right"
            say_preference(labels, said(found, pair, choice), program=program, iteration=iteration, annotator="ann",
                           client_key=f"{program}-{iteration}-{number}", seconds=2.0)  # fmt: skip
    return found


def said(clip_set: ClipSet, pair: ClipPair, choice: Choice) -> PreferenceValue:
    hashes = [clip_set.clips[name].content_hash for name in (pair.left, pair.right)]
    return PreferenceValue(pair_id=pair.pair_id, left=pair.left, right=pair.right, left_hash=hashes[0],
                           right_hash=hashes[1], choice=choice)  # fmt: skip


def first_joint(clip: Clip) -> float:
    return float(clip.observations[:, 0].mean())


def recorded(root: Path, episodes: int = 12) -> Store:
    """One epoch of recordings, some longer than others."""
    store = Store.at(root)
    for number in range(episodes):
        path = EpochFolder(store.station_incoming, "lid", 0).episode(number)
        record(path, 40 + 10 * (number % 3), spec=robot("cam_high", size=(16, 16)), seed=number)
    return store


def ranking(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["rank-clips", *words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_what_stations_recorded_is_ranked_as_people_prefer_it(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = recorded(own_store)
    clips = ["clips", "--program", "station", "-i", "0", "--pairs", "60", "--set", "whole=true"]
    assert run(clips) == 0
    found = compare(store, "station", 0, first_joint)
    reward = own_store / "reward"
    assert run(["train-reward", "--program", "station", "--out", str(reward)]) == 0
    assert "5 networks" in capsys.readouterr().out
    summary = json.loads((reward / "summary.json").read_text())
    figures = summary["report"]["figures"]
    assert summary["config"]["worth"] == "mean" and figures["comparisons"] + figures["held_out"] == 60

    ranked = ranking(capsys, "--program", "station", "--reward", str(reward), "--out", str(own_store / "ranked.json"))
    assert json.loads((own_store / "ranked.json").read_text()) == ranked
    assert [one["place"] for one in ranked] == list(range(1, 13))
    liked = {clip.facts.clip_id: first_joint(clip) for clip in found.all_clips()}
    places = np.array([one["place"] for one in ranked])
    worth = np.array([liked[one["clip_id"]] for one in ranked])
    assert np.corrcoef(places, np.argsort(np.argsort(-worth)))[0, 1] > 0.8, "the better liked stand above"
    assert ranked[0]["record"] == found.clips[ranked[0]["clip_id"]].record
    # What is asked next is what the ensemble does not agree on; what was compared stays in the set.
    assert run([*clips, "--reward", str(reward), "--seed", "7", "--set", "clips=6", "--pairs", "5"]) == 0
    after = open_clip_set(store.iteration("station", 0).clips)
    assert [pair.chosen_by for pair in after.pairs].count("disagreement") >= 4
    assert set(after.clips) == set(found.clips)
    assert run(["train-reward", "--program", "station", "--out", str(reward), "--steps", "1"]) == 0
    assert "left out" not in capsys.readouterr().out, "nothing that was said is lost"


@pytest.mark.slow
def test_plays_are_ranked_as_people_prefer_them(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collected = Collected(Store.at(own_store))

    def goes_to(place: str) -> Callable[[Player], None]:
        return lambda player: player.act(f"Navigate[{place}]") or player.run(40)

    good = []
    for number, place in enumerate(["kitchen_fridge_1", "bedroom_1"] * 3):
        play = collected.play(small_episode(), f"p{number}", through=goes_to(place), idle_ticks=1 + 40 * number)
        if place == "kitchen_fridge_1":
            good.append(collected.files(play)["trace"].relative_to(own_store).as_posix())
    assert run(["clips", "--program", "planner"]) == 0
    compare(collected.store, "planner", 0, lambda clip: float(clip.facts.record in good))
    reward = own_store / "reward"
    assert run(["train-reward", "--program", "planner", "--out", str(reward)]) == 0
    ranked = ranking(capsys, "--program", "planner", "--reward", str(reward))
    assert {one["record"] for one in ranked[:3]} == set(good)
    assert run(["rank-clips", "--program", "planner", "--reward", str(reward), "--most", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split() == ["place", "score", "per", "step", "clip", "who", "record"]
    assert ranked[0]["record"] in told[1] and "4 more" in told[2] and ranked[-1]["record"] in told[3]
    assert run(["clips", "--program", "planner", "--reward", str(reward), "--pairs", "4"]) == 0
    asked = open_clip_set(collected.store.iteration("planner", 0).clips).pairs
    assert all(pair.disagreement is not None for pair in asked) and len(asked) == 4
    capsys.readouterr()
    assert run(["clips", "--program", "station", "--reward", str(reward)]) == 2
    assert "was learned from planner clips, and these are station clips" in capsys.readouterr().err


@pytest.mark.slow
def test_clips_of_the_arm_by_hand_are_those_the_asset_makes(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hitl_assets.clip_provenance import made_of
    from hitl_assets.preference_clips import _standing
    from hitl_assets.preference_presets import chosen_preference_preset

    store = Store.at(own_store)
    clips = ["clips", "--program", "preference", "--preset", "tiny_ci", "--set", "clips.wander=0.2"]
    assert run(clips) == 0
    chosen = chosen_preference_preset("tiny_ci", ["clips.wander=0.2"])
    folder = store.iteration("preference", 0).clips
    made = made_of(chosen, 0, policy="", reward_of="", reward=None)
    assert _standing(folder, made) is not None, "the asset takes them for its own"
    compare(store, "preference", 0, lambda clip: clip.true_return or 0.0)
    before = open_clip_set(folder).facts
    capsys.readouterr()
    assert run(clips) == 2
    assert "people have made 6 comparisons of iteration 000" in capsys.readouterr().err
    assert open_clip_set(folder).facts == before
    reward = store.iteration("preference", 0).base / "reward"
    assert run(["train-reward", "--program", "preference", "--preset", "tiny_ci", "--out", str(reward)]) == 0
    assert run([*clips, "-i", "1", "--reward", str(reward), "--pairs", "3", "--set", "queries.random_share=0"]) == 0
    asked = open_clip_set(store.iteration("preference", 1).clips)
    assert [pair.chosen_by for pair in asked.pairs] == ["disagreement"] * 3
    assert asked.facts.made["reward_of"] == "000", "as the asset names it"


def test_a_sum_would_favour_the_longer_clip_and_a_mean_does_not(tmp_path: Path) -> None:
    from hitl_assets.reward_presets import REWARD_PRESETS
    from hitl_ops.evaluation.clip_ranking import rank_clips
    from tests.support.clip_sets import make_clip_set

    clips = make_clip_set(tmp_path / "clips", 4, 1, steps=[5, 50])
    good = {"clip-0000": 2.0, "clip-0001": 1.0, "clip-0002": 2.0, "clip-0003": 1.0}

    def total(clip: Clip) -> float:
        return good[clip.facts.clip_id] * clip.facts.steps

    assert [one.clip_id for one in rank_clips(clips, total)][:2] == ["clip-0001", "clip-0003"]
    ranked = rank_clips(clips, total, "mean")
    assert [(one.place, one.clip_id) for one in ranked][:3] == [(1, "clip-0000"), (1, "clip-0002"), (3, "clip-0001")]
    worth = {program: {one.worth for one in presets.values()} for program, presets in REWARD_PRESETS.items()}
    assert worth == {"planner": {"mean"}, "station": {"mean"}, "preference": {"sum"}}
    assert all(set(presets) == {"laptop", "paper", "tiny_ci"} for presets in REWARD_PRESETS.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train-reward", "--out", "out"], "name --program, or a file with --samples"),
        (["train-reward", "--program", "station", "--out", "out"], "nobody has compared clips yet"),
        (["train-reward", "--program", "dagger", "--out", "out"], "is not one of 'planner'"),
        (["rank-clips", "--reward", "none"], "name either --program or --clips"),
        (["rank-clips", "--reward", "none", "--program", "station"], "there are no clips in"),
        (["train-reward", "--samples", "a", "-i", "1", "--out", "out"], "--iteration is of what stands in the store"),
        (["rank-clips", "--reward", "none", "--clips", "set", "-i", "1"], "--iteration is of a program's clips"),
        (["rank-clips", "--reward", "none", "--clips", "set"], "there is no learned reward in"),
        (["clips", "--program", "station", "--policy", "p"], "--policy is for the arm"),
        (["clips", "--program", "preference", "--preset", "huge"], "preset 'huge' is unknown"),
        (["clips", "--program", "preference", "--policy", "none"], "there is no policy of the arm in 'none'"),
    ],
)
def test_a_mistake_is_one_line(own_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                               words: list[str], told: str) -> None:  # fmt: skip
    from tests.support.clip_sets import make_clip_set

    make_clip_set(own_store / "set", 2, 1, steps=3)
    monkeypatch.chdir(own_store)
    assert run(words) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (own_store / "out").exists()
