"""The station's graph reads as the design says, and its presets are typed, strict and of one world."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.definitions import build_defs
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.station_control import DEMONSTRATIONS_ONLY, TOLD_NOTHING, chain_steps, control_training
from hitl_assets.station_iterations import STATION_LOOP, open_first_station_iteration, station_iterations
from hitl_assets.station_presets import STATION_PRESETS, STATION_WORLDS, StationPreset, chosen_station_preset
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import CARD_FILE

LEARNING = ["station_dataset", "station_policy", "station_evaluation", "station_promotion"]
CONTROL = ["station_control_policy", "station_control_evaluation"]
SECOND = ["station_control_demonstrations_policy", "station_control_demonstrations_evaluation"]
GIVEN = ["station_base_policy", "station_epoch", "station_input"]
PARTITIONED = [*GIVEN, "station_recordings", *LEARNING, *CONTROL, *SECOND]


def _graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def _parents(name: str) -> set[str]:
    return {key.to_user_string() for key in _graph().get(dg.AssetKey(name)).parent_keys}


def test_follows_the_design() -> None:
    for before, after in itertools.pairwise(["station_demonstrations", *LEARNING]):
        assert before in _parents(after)
    for before, after in itertools.pairwise(["station_epoch", "station_recordings", "station_dataset", *CONTROL]):
        assert before in _parents(after)
    for before, after in itertools.pairwise(["station_dataset", *SECOND]):
        assert before in _parents(after)
    assert "station_base_policy" in _parents("station_policy")
    graph = _graph()
    own = {node.key.to_user_string() for node in graph.asset_nodes if node.group_name == "station"}
    assert own == {"station_demonstrations", *PARTITIONED}
    assert {name for name in own if graph.get(dg.AssetKey(name)).partitions_def == station_iterations} == {*PARTITIONED}
    # Dagster tells only the direct children of what has changed, so every descendant is one.
    assert {name for name in own if "station_input" in _parents(name)} == {*LEARNING, *CONTROL, *SECOND}


def test_damage_blocks_the_next_step_and_opinions_do_not() -> None:
    graph = _graph()
    own = {key for key in graph.asset_check_keys if key.asset_key.to_user_string().startswith("station_")}
    assert {key.name for key in own if graph.get(key).blocking} == {
        "demonstrations_are_sound",
        "recordings_are_whole",
        "dataset_agrees",
        "norm_stats_are_sound",
        "station_training_learned",
    }


def test_jobs_hold_what_is_started_as_one() -> None:
    for name, held in (
        ("station_iteration_0", {"station_demonstrations", *LEARNING}),
        ("station_refinement", {"station_recordings", *LEARNING}),
        ("station_control", {*CONTROL, *SECOND}),
    ):
        job = build_defs().resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == held


def test_the_two_programs_turn_apart() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_station_iteration(instance) == "000"
        assert STATION_LOOP.opened(instance) == ["000"] and STATION_LOOP.base_policy_of(instance, "000") == ""
        assert instance.get_dynamic_partitions("planner_iterations") == []
        with pytest.raises(UserError, match="was never opened"):
            STATION_LOOP.parent_of(instance, "001")


@pytest.mark.parametrize(("name", "world"), list(itertools.product(STATION_PRESETS, ["", *STATION_WORLDS])))
def test_presets_survive_being_written_down_in_any_world(name: str, world: Any) -> None:
    preset = chosen_station_preset(name, [], world)
    assert StationPreset.model_validate_json(preset.model_dump_json()) == preset
    assert preset.demonstrations.world == preset.evaluation.world == (world or "bimanual")
    if world:
        assert preset.collection.task == STATION_WORLDS[world].task
        assert preset.config_name == f"{preset.training.model.kind}_{world}"
    # Pictures are used in all of a scale, or in none of it.
    assert bool(preset.evaluation.world_options["cameras"]) == (name not in ("laptop", "tiny_ci"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.step=3"], "did you mean 'steps'?"),
        (["evaluation.world=aloha"], "different worlds"),
        (["collection.stations=[a, a]"], "collection.stations"),
        (["refinement.start=previous", "refinement.training.model.chunk=7"], "refinement.start=previous needs"),
        (["evaluation.seed=10001"], "evaluation.seed and demonstrations.seed give the same scenes (from seed 10001)"),
        (["evaluation.seed=2100004"], "evaluation.seed and collection.simulated_seed"),
        (["evaluation.seed=12100022", "collection.stations=[a, b]"], "evaluation.seed and collection.simulated_seed"),
        (["demonstrations.seed=2200005", "loop.iterations=2"], "demonstrations.seed and collection.simulated_seed"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_station_preset("tiny_ci", overrides)
    assert said in str(caught.value)
    with pytest.raises(UserError, match="choose one of bimanual, aloha"):
        chosen_station_preset("tiny_ci", [], "moon")


def test_scenes_beside_each_other_are_no_mistake() -> None:
    for apart in (
        ["evaluation.seed=9998"],
        ["evaluation.seed=10003"],
        ["evaluation.seed=12100022"],
        ["demonstrations.seed=2200005"],
        ["evaluation.seed=10001", "demonstrations.recordings=/somewhere"],
    ):
        chosen_station_preset("tiny_ci", apart)


def test_sensors_are_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_STATION_PRESET", "tiny_ci")
    monkeypatch.setenv("FLYWHEEL_STATION_WORLD", "aloha")
    monkeypatch.setenv("FLYWHEEL_STATION_OVERRIDES", "collection.episodes=7 loop.iterations=3")
    chosen = StationPresetChoice.from_environment().resolve()
    assert (chosen.world, chosen.collection.episodes, chosen.loop.iterations) == ("aloha", 7, 3)
    monkeypatch.setenv("FLYWHEEL_STATION_PRESET", "labtop")
    with pytest.raises(UserError, match="FLYWHEEL_STATION_PRESET 'labtop' is unknown"):
        StationPresetChoice.from_environment()


def test_controls_train_as_long_as_all_that_led_to_the_policy(tmp_path: Path) -> None:
    store, parent = Store.at(tmp_path), "act"
    # The third goes on from the first: the gate refused the second.
    for steps, from_first in ((5, False), (7, True), (9, True)):
        config = chosen_station_preset("tiny_ci", [f"training.steps={steps}"]).training
        card = PolicyCard(
            program="station",
            iteration=1,
            parent=parent if from_first else "act",
            samples_hash="0",
            config=config.model_dump(mode="json"),
        )
        publish_json(store.policy("station", card.policy_id) / CARD_FILE, card)
        parent = parent if from_first else card.policy_id
    assert chain_steps(store, card) == 5 + 9
    chosen = chosen_station_preset("tiny_ci", ["refinement.training.indicator_dropout=0.3"])
    untold = control_training(chosen, 2, 14, TOLD_NOTHING)
    assert (untold.model.advantage, untold.steps) == ("none", 14)
    told = control_training(chosen, 2, 14, DEMONSTRATIONS_ONLY)
    assert told == chosen.refinement.training.replace(steps=14) and told.model.advantage != "none"
    shutil.rmtree(store.policy("station", parent))
    with pytest.raises(UserError, match=parent):
        chain_steps(store, card)
