"""The ablation of the experts' weight at the smallest scale: only weight and seed differ, and figures are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import expert_weight
from benchmarks.expert_weight import BEFORE, Settings
from flywheel import bench as verb
from hitl_assets.presets import PRESETS
from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.experts.oracle import Oracle
from hitl_ops.models.planner_lm import read_card
from hitl_ops.records.traces import trace_path, write_trace
from hitl_ops.rollouts.episode_sets import episode_file, generate_episode_sets
from hitl_ops.rollouts.play import play_episode
from hitl_ops.samples.build import SampleConfig, build_samples
from hitl_ops.samples.parquet import read_samples, write_samples


def scores(*successes: bool) -> dict[str, EpisodeScore]:
    return {
        f"val_{number}": EpisodeScore(
            episode_id=f"val_{number}",
            task_type="spatial",
            split="val",
            scene_id="home",
            success=success,
            percent_complete=1.0 if success else 0.25,
            sim_steps=1,
            ended_by="done",
        )
        for number, success in enumerate(successes)
    }


def figure(rows: list[dict[str, Any]], metric: str) -> float:
    (found,) = [row for row in rows if row["metric"] == metric]
    assert set(found) == set(verb.COLUMNS) and found["target"] is None and found["holds"] is None
    return float(found["ours"])


def test_figures_are_means_over_seeds_with_intervals_over_episodes() -> None:
    plays = {"expert weight 5": {0: scores(True, True, False, True), 1: scores(True, False, False, True)}}
    rows = expert_weight._score_rows(plays)
    assert figure(rows, "success, expert weight 5") == pytest.approx(62.5)
    assert figure(rows, "success, expert weight 5: seed 0") == 75
    assert figure(rows, "success, expert weight 5: seed 1") == 50
    assert figure(rows, "percent complete, expert weight 5") == pytest.approx(100 * (5 + 3 * 0.25) / 8, abs=1e-3)
    low, high = (figure(rows, f"success, expert weight 5: 95 % interval {end}") for end in ("from", "to"))
    assert low < 62.5 < high
    # Another seed's plays of the same episodes are no further evidence on episodes.
    doubled = {"expert weight 5": {**plays["expert weight 5"], 2: scores(True, True, False, True)}}
    doubled["expert weight 5"][3] = scores(True, False, False, True)
    assert figure(expert_weight._score_rows(doubled), "success, expert weight 5: 95 % interval from") == low


def test_differences_are_paired_by_episode_and_seed() -> None:
    plays = {
        BEFORE: {0: scores(False, False, False, True)},
        "expert weight 5": {0: scores(True, True, False, True), 1: scores(True, True, False, True)},
        "expert weight 0": {0: scores(True, False, False, True), 1: scores(False, False, False, True)},
    }
    rows = expert_weight._difference_rows(plays)
    assert figure(rows, "success, expert weight 5 less expert weight 0") == pytest.approx(37.5)
    assert figure(rows, f"success, expert weight 5 less {BEFORE}") == 50
    assert figure(rows, f"success, expert weight 0 less {BEFORE}") == pytest.approx(12.5)
    (side,) = [row for row in rows if row["metric"] == "success, expert weight 5 over expert weight 0"]
    assert (side["ours"], side["reference"], side["reference_name"]) == (75, 37.5, "expert weight 0")
    assert side["ratio"] == 2
    assert 0 < figure(rows, "success, expert weight 5 less expert weight 0: how often chance alone gives as much") <= 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store after one turn of the loop: the teacher's samples, and corrections of two of them."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    generate_episode_sets(PRESETS["tiny_ci"].episodes, store.episodes)
    first, second = store.iteration("planner", 0), store.iteration("planner", 1)
    oracle = Oracle("partial")
    for episode in read_episodes(episode_file(store.episodes, "train"))[:3]:
        played = play_episode(episode, {0: oracle, 1: oracle})
        trace = trace_path(first.rollouts / "teacher" / "traces", episode.episode_id)
        write_trace(trace, played.header, played.decisions, played.result)
    build_samples(first.rollouts / "teacher" / "traces", SampleConfig(), first.samples / "distilled.parquet")
    corrections = [
        sample.model_copy(
            update={
                "sample_id": f"{sample.episode_id}/{sample.step}/expert",
                "source": "expert",
                "iteration": 1,
                "prompt": sample.prompt.replace("Task:", "Task: now"),
                "weight": 5.0,
                "label_id": "a",
            }
        )
        for sample in list(read_samples(first.samples / "distilled.parquet"))[:12]
    ]
    write_samples(second.samples / "expert.parquet", corrections, prompt_style="incremental")
    return store


def settings(store: Store, **changes: Any) -> Settings:
    return Settings(
        **{
            "store": str(store.root),
            "preset": "tiny_ci",
            "overrides": ("evaluation.decision_limit=2", "refinement.config.validation_fraction=0.34"),
            "base": "tiny",
            "weights": (5.0, 0.0),
            "seeds": (0,),
            "max_episodes": 1,
            "processes": 1,
            **changes,
        }
    )


@pytest.mark.slow
def test_it_trains_and_plays_every_weight_with_every_seed_once(
    finished: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    rows = expert_weight.bench(settings(finished, out=str(out)))
    assert figure(rows, "expert samples, expert weight 5") == 12
    assert not [row for row in rows if row["metric"] == "expert samples, expert weight 0"]
    assert not [row for row in rows if BEFORE in row["metric"]], "what trains from scratch has played nothing before"
    taught = [row["ours"] for row in rows if row["metric"].startswith("distilled samples")]
    assert len(set(taught)) == 1
    assert 0 <= figure(rows, "success, expert weight 5") <= 100
    cards = sorted(out.rglob("card.json"))
    assert len(cards) == 2 and len({read_card(card.parent).policy_id for card in cards}) == 2
    weights = {
        file.stem: {sample.weight for sample in read_samples(file) if sample.source == "expert"}
        for file in (out / "001" / "samples").glob("*.parquet")
    }
    assert weights == {"weight-5": {5.0}, "weight-0": set()}
    assert "expert weight 0, seed 0" in capsys.readouterr().err
    # The loop's own training set is none of its business.
    assert not (finished.iteration("planner", 1).samples / "training_mix.parquet").exists()

    # Once more: everything is there; and what was lost is made again, by itself.
    written = {card: card.stat().st_mtime_ns for card in cards}
    next((cards[0].parent.parent / "traces").iterdir()).unlink()
    assert expert_weight.bench(settings(finished, out=str(out))) == rows
    assert {card: card.stat().st_mtime_ns for card in cards} == written

    # From one of those policies on: it has played itself.
    base = str(cards[0].parent / "merged")
    refined = expert_weight.bench(settings(finished, out=str(out), base=base, weights=(1.0,), seeds=(3,)))
    assert figure(refined, f"success, {BEFORE}") >= 0
    assert len(sorted(out.rglob("card.json"))) == 3


@pytest.mark.slow
def test_what_cannot_be_compared_is_said_in_one_line(finished: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has corrections"):
        expert_weight.bench(Settings(store=str(tmp_path)))
    without = settings(finished, overrides=("refinement.mix.sources=[distilled]",), out=str(tmp_path))
    with pytest.raises(UserError, match="there are no corrections in iterations 000 to 001"):
        expert_weight.bench(without)
    with pytest.raises(UserError, match="there are no 'train2' episodes"):
        expert_weight.bench(settings(finished, split="train2", out=str(tmp_path)))
    with pytest.raises(UserError, match="to start from"):
        expert_weight.bench(settings(finished, base="", out=str(tmp_path)))
    with pytest.raises(UserError, match="preset 'desktop' is unknown"):
        expert_weight.bench(settings(finished, preset="desktop", out=str(tmp_path)))


@pytest.mark.parametrize("change", [{"weights": (1.0, 1.0)}, {"seeds": (0, 0)}, {"weights": (-1.0,)}, {"seeds": ()}])
def test_settings_that_compare_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="invalid"):
        Settings().replace(**change)


def test_the_rows_can_be_printed() -> None:
    assert json.dumps(expert_weight._difference_rows({BEFORE: {0: scores(True)}, "a": {0: scores(True)}}))
