"""The preference program's graph reads as the design says; its presets are typed, strict, and say what they change."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.definitions import build_defs
from hitl_assets.preference_iterations import (
    PREFERENCE_LOOP,
    open_first_preference_iteration,
    preference_iterations,
)
from hitl_assets.preference_presets import PREFERENCE_PRESETS, PreferencePreset, chosen_preference_preset
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import GateConfig, GateVerdict, write_gate

LEARNING = ["preference_labels", "reward_model", "reach_policy", "reach_control", "reach_evaluation", "reach_promotion"]
GIVEN = {"preference_base_policy", "preference_input"}


@functools.cache
def _graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def _parents(name: str) -> set[str]:
    return {key.to_user_string() for key in _graph().get(dg.AssetKey(name)).parent_keys}


def test_follows_the_design() -> None:
    for before, after in itertools.pairwise(["preference_base_policy", "clip_pairs", *LEARNING]):
        assert before in _parents(after)
    assert "preference_base_policy" in _parents("reach_policy")
    graph = _graph()
    own = {node.key.to_user_string() for node in graph.asset_nodes if node.group_name == "preference"}
    assert own == {*GIVEN, "clip_pairs", *LEARNING}
    assert {graph.get(dg.AssetKey(name)).partitions_def for name in own} == {preference_iterations}
    # Dagster tells only the direct children of what has changed, so every descendant is one; nobody's word is in the
    # control, nor in the clips.
    assert {name for name in own if "preference_input" in _parents(name)} == {*LEARNING} - {"reach_control"}


def test_damage_blocks_the_next_step_and_opinions_do_not() -> None:
    graph = _graph()
    own = {"clip_pairs", *LEARNING}
    checks = {key for key in graph.asset_check_keys if key.asset_key.to_user_string() in own}
    assert {key.name: graph.get(key).blocking for key in checks} == {
        "clips_are_whole": True,
        "targets_are_apart": True,
        "people_look_at_the_clips": False,
        "reward_is_not_constant": True,
        "reward_generalises": False,
        "examination_is_complete": True,
        "reach_gate_passed": False,
    }


def test_jobs_hold_what_is_started_as_one() -> None:
    definitions = build_defs()
    for name, held in (
        ("preference_clips", {"clip_pairs"}),
        ("preference_learning", {*LEARNING}),
    ):
        job = definitions.resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == held


def test_it_turns_apart_from_the_others() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_preference_iteration(instance) == "000"
        assert PREFERENCE_LOOP.opened(instance) == ["000"] and PREFERENCE_LOOP.base_policy_of(instance, "000") == ""
        assert instance.get_dynamic_partitions("station_iterations") == []
        with pytest.raises(UserError, match="was never opened"):
            PREFERENCE_LOOP.parent_of(instance, "001")


def test_an_iteration_is_through_while_what_decided_it_is_there(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    verdict = GateVerdict(promote=False, reason="worse", candidate="reach-000", serving=None, episodes=0,
                          candidate_mean=0, serving_mean=None, difference=None, probability_not_worse=None,
                          config=GateConfig())  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        gate = write_gate(store.iteration("preference", 0).evaluation, verdict)
        assert not PREFERENCE_LOOP.through(instance, store, 0), "nothing has decided"
        instance.report_runless_asset_event(dg.AssetMaterialization(PREFERENCE_LOOP.decision, partition="000"))
        assert PREFERENCE_LOOP.through(instance, store, 0) and not PREFERENCE_LOOP.through(instance, store, 1)
        gate.unlink()
        assert not PREFERENCE_LOOP.through(instance, store, 0)


@pytest.mark.parametrize("name", list(PREFERENCE_PRESETS))
def test_presets_survive_being_written_down(name: str) -> None:
    preset = chosen_preference_preset(name, [])
    assert PreferencePreset.model_validate_json(preset.model_dump_json()) == preset


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["reward.step=3"], "did you mean 'steps'?"),
        (["clips.steps=11"], "clips.steps 11 is longer than an episode"),
        (["labels.every=5"], "labels.every 5 waits for more than is asked: first_pairs 6, queries.pairs 4"),
        (["annotator.people=[eva, eva]"], "everybody needs a name of their own"),
        (["world.control_hz=7"], "control_hz 7 does not divide 240"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_preference_preset("tiny_ci", overrides)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(UserError, match="choose one of laptop, paper, tiny_ci"):
        chosen_preference_preset("labtop", [])


def _resolved(*overrides: str) -> PreferencePreset:
    return chosen_preference_preset("tiny_ci", overrides)


def test_every_iteration_has_pairs_clips_and_chance_of_its_own() -> None:
    chosen = _resolved("clips.seed=3", "queries.seed=4", "ppo.seed=5")
    assert (chosen.pairs_of(0), chosen.pairs_of(1), chosen.pairs_of(7)) == (6, 4, 4)
    assert [chosen.clips_of(number).seed for number in (0, 2)] == [3000, 3002]
    assert [(chosen.queries_of(n).seed, chosen.queries_of(n).pairs) for n in (0, 2)] == [(4000, 6), (4002, 4)]
    assert [chosen.training_of(number).ppo.seed for number in (0, 2)] == [5000, 5002]
    assert chosen.training_of(1).world == chosen.world


def test_an_iteration_waits_for_what_its_pairs_can_give() -> None:
    assert _resolved().wanted_of(0, pairs=6) == 6
    assert _resolved().wanted_of(0, pairs=2) == 2, "there may be fewer pairs than were wanted"
    assert _resolved("labels.every=3").wanted_of(1, pairs=4) == 3


def test_the_paper_scale_is_the_sketch() -> None:
    paper = PREFERENCE_PRESETS["paper"]
    ppo, reward = paper.ppo, paper.reward
    assert (ppo.learning_rate, ppo.clip_range, ppo.value_coefficient, ppo.entropy_coefficient) == (3e-4, 0.2, 0.5, 0.01)
    assert (ppo.max_grad_norm, ppo.gamma, ppo.gae_lambda, ppo.epochs) == (0.5, 0.99, 0.95, 10)
    assert (ppo.policy.hidden, ppo.policy.activation, ppo.policy.log_std) == ((64, 64), "tanh", 0.0)
    assert (ppo.rollout_size, ppo.rollouts, ppo.batch_size) == (10 * 1000, 5, 10_000)
    assert (paper.world.control_hz, paper.world.max_steps, paper.world.observation_size) == (240, 1000, 17)
    assert (reward.learning_rate, reward.model.hidden, reward.model.activation) == (1e-4, (64, 64), "relu")
    assert (reward.model.members, reward.bootstrap, reward.answer_noise) == (1, False, 0.0)
    assert paper.clips.steps == paper.world.max_steps
    assert (paper.loop.iterations + 1) * ppo.rollouts == 100


def test_sensors_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_PREFERENCE_PRESET", "tiny_ci")
    monkeypatch.setenv("FLYWHEEL_PREFERENCE_OVERRIDES", "first_pairs=7 loop.iterations=3")
    chosen = PreferencePresetChoice.from_environment().resolve()
    assert (chosen.first_pairs, chosen.loop.iterations, chosen.world.max_steps) == (7, 3, 10)
    monkeypatch.setenv("FLYWHEEL_PREFERENCE_OVERRIDES", "first_pair=7")
    with pytest.raises(UserError, match=r"FLYWHEEL_PREFERENCE_OVERRIDES: .*unknown config key 'first_pair'"):
        PreferencePresetChoice.from_environment()
    monkeypatch.setenv("FLYWHEEL_PREFERENCE_PRESET", "labtop")
    with pytest.raises(UserError, match="FLYWHEEL_PREFERENCE_PRESET 'labtop' is unknown"):
        PreferencePresetChoice.from_environment()


def test_in_a_run_a_mistake_fails_without_retry() -> None:
    choice: Any = PreferencePresetChoice(name="tiny_ci", overrides=["reward.step=3"])
    with pytest.raises(dg.Failure) as caught:
        choice.resolve()
    assert "did you mean 'steps'?" in (caught.value.description or "") and not caught.value.allow_retries
