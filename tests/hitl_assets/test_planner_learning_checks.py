"""What is said of corrections, training sets and decisions: all well where it is, and by name where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from hitl_assets import planner_learning_checks as checks
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.episode import read_episodes, write_episodes
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.evaluation.gate import GateConfig
from hitl_ops.evaluation.session_videos import SessionVideos, UnfilmedPlay
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.data_card import write_data_card
from hitl_ops.samples.parquet import read_samples, write_samples
from hitl_ops.samples.training_mix import MixConfig, build_training_mix, mix_path
from hitl_ops.serving.policy_alias import promote, resolve
from hitl_ops.serving.promotion import judge
from resources.store import StoreResource
from tests.support.evaluated_policies import write_evaluated
from tests.support.registries import with_registry

pytestmark = pytest.mark.slow

Verdict = Callable[..., dg.AssetCheckResult]


@pytest.fixture
def iteration(store: StoreResource) -> IterationPaths:
    """Folders of iteration 000 of the copied store."""
    return store.iteration("planner", "000")


@pytest.fixture
def mix(store: StoreResource, iteration: IterationPaths) -> IterationPaths:
    """The same, with a training set of the teacher's samples."""
    build_training_mix(store.open(), "planner", 0, MixConfig())
    return iteration


def _spoil_mix(iteration: IterationPaths, /, **changes: object) -> None:
    file = mix_path(iteration)
    rows = list(read_samples(file))
    spoiled = [rows[0].model_copy(update=changes), *rows[1:]]
    write_samples(file, spoiled, prompt_style="incremental")
    write_data_card(file, file.with_suffix(""))


@pytest.mark.parametrize(
    "check",
    [checks.mix_schema, checks.mix_leakage, checks.mix_degenerate, checks.mix_weights],
    ids=lambda check: next(iter(check.check_keys)).name,
)
def test_a_sound_training_set_passes(
    check: dg.AssetChecksDefinition, mix: IterationPaths, store: StoreResource, verdict: Verdict
) -> None:
    found = verdict(check)
    assert found.passed, found.description


def test_a_weight_that_is_not_its_sources_is_found(mix: IterationPaths, verdict: Verdict) -> None:
    _spoil_mix(mix, weight=5.0)
    found = verdict(checks.mix_weights)
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert "1 samples of distilled weigh something else" in (found.description or "")


def test_weights_are_the_presets(mix: IterationPaths, verdict: Verdict) -> None:
    told = verdict(checks.mix_weights, PresetChoice(name="tiny_ci", overrides=["refinement.mix.distilled=0.25"]))
    assert "of distilled weigh something else" in (told.description or "")


def test_a_sample_of_a_later_iteration_is_found(mix: IterationPaths, verdict: Verdict) -> None:
    _spoil_mix(mix, iteration=3)
    assert "1 samples are of a later iteration" in (verdict(checks.mix_weights).description or "")


def test_a_damaged_training_set_is_found(mix: IterationPaths, verdict: Verdict) -> None:
    mix_path(mix).write_bytes(b"PAR1 not really")
    for check in (checks.mix_schema, checks.mix_weights, checks.mix_degenerate):
        assert "corrupt" in (verdict(check).description or "")


def test_samples_of_the_examination_are_found(mix: IterationPaths, store: StoreResource, verdict: Verdict) -> None:
    home = next(read_samples(mix_path(mix))).scene_id
    file = episode_file(store.open().episodes, "val")
    episodes = read_episodes(file)
    episodes[0].scene_id = home
    write_episodes(file, episodes)
    assert "samples and val share 1 home(s)" in (verdict(checks.mix_leakage).description or "")


def test_too_little_to_learn_from_is_found(mix: IterationPaths, verdict: Verdict) -> None:
    told = verdict(checks.mix_degenerate, PresetChoice(name="tiny_ci", overrides=["checks.least_samples=9999"]))
    assert "are no training set, least is 9999" in (told.description or "")


# --- corrections --------------------------------------------------------------------------------------------------


@pytest.fixture
def corrected(iteration: IterationPaths) -> IterationPaths:
    """Iteration 000 with two corrections."""
    rows = list(read_samples(iteration.samples / "distilled.parquet"))[:2]
    file = iteration.samples / "expert.parquet"
    made = [row.model_copy(update={"source": "expert", "weight": 5.0, "label_id": "1,2"}) for row in rows]
    write_samples(file, made, prompt_style="incremental")
    publish_json(iteration.samples / "expert" / "left_out.json", [])
    return iteration


def test_sound_corrections_pass(corrected: IterationPaths, verdict: Verdict) -> None:
    for check in (checks.expert_schema, checks.expert_leakage, checks.corrections_are_taught):
        found = verdict(check)
        assert found.passed, found.description


def test_a_correction_without_a_label_is_found(corrected: IterationPaths, verdict: Verdict) -> None:
    file = corrected.samples / "expert.parquet"
    write_samples(
        file, [row.model_copy(update={"label_id": ""}) for row in read_samples(file)], prompt_style="incremental"
    )
    assert "2 samples name no label" in (verdict(checks.expert_schema).description or "")


def test_many_corrections_that_cannot_be_taught_are_worth_a_look(corrected: IterationPaths, verdict: Verdict) -> None:
    left = {"play_id": "p", "decision": 3, "reason": "not admissible", "annotators": ["eva"]}
    publish_json(corrected.samples / "expert" / "left_out.json", [left])
    found = verdict(checks.corrections_are_taught)
    assert (found.passed, found.severity.value) == (False, "WARN")
    assert "1 of 3 are left out, e.g. not admissible" in (found.description or "")
    preset = PresetChoice(name="tiny_ci", overrides=["checks.largest_dropped_share=0.5"])
    assert verdict(checks.corrections_are_taught, preset).passed


# --- what annotators are shown ------------------------------------------------------------------------------------


def _manifest(iteration: IterationPaths, *plays: str) -> None:
    rows = [
        {
            "play_id": play,
            "session_id": "s",
            "participant_id": "ann",
            "episode_id": "train_0",
            "scene_id": "home",
            "task_type": "spatial",
            "split": "train",
            "attempt": 1,
            "ended_by": "person",
            "success": True,
            "percent_complete": 1.0,
            "seconds": 1.0,
            "sim_steps": 30,
            "finish_id": number,
            "finished_at": "2026-01-01T00:00:00Z",
            "reported": False,
            "prompt_style": "incremental",
            "files": {},
        }
        for number, play in enumerate(plays, 1)
    ]
    body = {"program": "planner", "iteration": 0, "plays": rows, "broken": [], "never_begun": []}
    publish_json(iteration.sessions / "plays.json", {"format": "flywheel-plays-1", **body})


def _queue(iteration: IterationPaths, *plays: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "play_id": play,
            "session_id": "s",
            "episode_id": "train_0",
            "success": True,
            "percent_complete": 1.0,
            "value": 0.5,
            "reasons": [],
            "decisions_worth_a_look": [],
        }
        for play in plays
    ]
    body = {"format": "flywheel-queue-1", "plays_hash": "x", "config": {}, "plays": rows}
    publish_json(iteration.sessions / "annotation_queue.json", body)


@pytest.mark.parametrize(
    ("queued", "said"),
    [
        (["a", "b"], None),
        (["a"], "1 plays are listed or queued, but not both"),
        (["a", "b", "c"], "1 plays are listed or queued, but not both"),
        (["a", "b", "b"], "a play waits twice"),
    ],
)
def test_the_queue_holds_what_is_listed(
    queued: list[str], said: str | None, iteration: IterationPaths, verdict: Verdict
) -> None:
    _manifest(iteration, "a", "b")
    _queue(iteration, *queued)
    found = verdict(checks.queue_is_complete)
    assert found.passed is (said is None)
    assert said is None or said in (found.description or "")


def test_plays_that_could_not_be_filmed_are_named(iteration: IterationPaths, verdict: Verdict) -> None:
    nothing = SessionVideos(plays_hash="x", videos=[], unfilmed=[], made_now=0, seconds=1.0)
    publish_json(iteration.sessions / "videos" / "videos.json", nothing)
    assert verdict(checks.plays_are_filmed).passed
    unfilmed = nothing.model_copy(update={"unfilmed": [UnfilmedPlay(play_id="a", reason="its log is damaged")]})
    publish_json(iteration.sessions / "videos" / "videos.json", unfilmed)
    found = verdict(checks.plays_are_filmed)
    assert (found.passed, found.severity.value) == (False, "WARN")
    assert "its log is damaged" in (found.description or "")


# --- the decision -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_refusal_is_said_and_is_no_error(store: StoreResource, iteration: IterationPaths, verdict: Verdict) -> None:
    root = with_registry(store.open())
    assert "there is no verdict" in (verdict(checks.gate_passed).description or "")
    write_evaluated(root, 1, seed=1, solved="1110")
    promote(root, "planner", 1)
    write_evaluated(root, 0, seed=2, solved="0000")
    assert not judge(root, "planner", 0, GateConfig(resamples=200)).promote
    found = verdict(checks.gate_passed)
    assert (found.passed, found.severity.value) == (False, "WARN")
    assert "may not serve" in (found.description or "")


@pytest.mark.slow
def test_what_serves_must_be_whole_and_evaluated(store: StoreResource, verdict: Verdict) -> None:
    root = with_registry(store.open())
    assert verdict(checks.what_serves_is_sound).passed  # nothing serves
    write_evaluated(root, 0, seed=1)
    promote(root, "planner", 0)
    assert verdict(checks.what_serves_is_sound).passed
    serving = resolve(root, "planner")
    assert serving is not None
    card = json.loads((serving.folder / "card.json").read_text())
    publish_json(serving.folder / "card.json", {**card, "samples_hash": "another"})
    assert "lies beside the card of" in (verdict(checks.what_serves_is_sound).description or "")
    publish_json(serving.folder / "card.json", card)
    for weights in (serving.folder / "merged").glob("*.safetensors"):
        weights.unlink()
    found = verdict(checks.what_serves_is_sound)
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert "are gone" in (found.description or "")
