"""The graph reads as the design says: who follows whom, and what a person is told about each asset."""

from __future__ import annotations

import itertools

import dagster as dg

from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import (
    base_policy,
    base_policy_of,
    open_first_iteration,
    open_iteration,
    planner_iterations,
)

PEOPLE = ["session_logs", "session_scores", "human_gold_samples"]
SHOWN = ["annotation_queue", "session_videos"]
TEACHING = ["teacher_rollouts", "distilled_samples"]
LEARNING = ["training_mix", "planner_adapter", "planner_policy", "planner_evaluation", "planner_promotion"]
GIVEN = ["base_policy", "collected_plays", "annotation_labels", "human_input"]
PARTITIONED = [*GIVEN, *TEACHING, *PEOPLE, *SHOWN, "expert_samples", *LEARNING]


def _graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def _parents(name: str) -> set[str]:
    return {key.to_user_string() for key in _graph().get(dg.AssetKey(name)).parent_keys}


def test_follows_the_design() -> None:
    for before, after in itertools.pairwise([*TEACHING, *LEARNING]):
        assert before in _parents(after)
    assert "household_episodes" in _parents("teacher_rollouts")
    assert "base_policy" in _parents("planner_adapter")
    for before, after in itertools.pairwise(["base_policy", *PEOPLE]):
        assert before in _parents(after)
    assert "household_episodes" in _parents("human_gold_samples")
    assert {"session_logs", "annotation_queue"} <= _parents("session_videos")
    assert {"session_logs", "annotation_labels"} <= _parents("expert_samples")
    assert {"distilled_samples", "human_gold_samples", "expert_samples"} <= _parents("training_mix")
    own = {node.key.to_user_string() for node in _graph().asset_nodes if node.group_name == "planner"}
    assert own == {"household_episodes", *PARTITIONED}


def test_what_people_give_is_known_to_all_that_is_made_of_it() -> None:
    """Dagster tells only the direct children of what has changed, so every descendant is one."""
    of_plays = {*PEOPLE, *SHOWN, "expert_samples"}
    assert {name for name in PARTITIONED if "collected_plays" in _parents(name)} == of_plays
    assert {name for name in PARTITIONED if "annotation_labels" in _parents(name)} == {"expert_samples"}
    assert {name for name in PARTITIONED if "human_input" in _parents(name)} == set(LEARNING)


def test_iterations_are_partitions_and_episodes_are_shared() -> None:
    graph = _graph()
    for name in PARTITIONED:
        assert graph.get(dg.AssetKey(name)).partitions_def == planner_iterations
    assert graph.get(dg.AssetKey("household_episodes")).partitions_def is None
    for name in GIVEN:
        assert not graph.get(dg.AssetKey(name)).is_materializable


def test_every_asset_says_what_it_is() -> None:
    for node in _graph().asset_nodes:
        name = node.key.to_user_string()
        assert node.group_name == node.tags.get("flywheel/program"), name
        assert node.owners, name
        assert node.kinds, name
        assert len(node.description or "") > 60, name
        assert node.tags.get("flywheel/stage"), name
        if node.is_materializable:
            assert node.code_version, name


def test_only_what_needs_the_accelerator_waits_for_it() -> None:
    pools = {node.key.to_user_string(): node.pools for node in _graph().asset_nodes if node.is_materializable}
    controls = {"station_control_policy", "station_control_demonstrations_policy"}
    advantage = {"advantage_estimator", "estimated_dataset", "awbc_policy"}
    preference = {"reach_policy", "reach_control"}
    dagger = {"expert_rounds", "preference_rounds", "bc_control", "dagger_evaluation"}
    waiting = {"planner_adapter", "station_policy", *controls, *advantage, *preference, *dagger}
    assert {name for name, held in pools.items() if "gpu" in (held or ())} == waiting


def test_what_would_spoil_the_next_step_blocks_it() -> None:
    graph = _graph()
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking >= {
        "episodes_leakage",
        "samples_leakage",
        "samples_schema",
        "samples_degenerate",
        "rollouts_schema",
        "session_records",
        "scores_schema",
        "people_succeed",
        "human_gold_schema",
        "human_gold_leakage",
        "human_gold_degenerate",
        "queue_is_complete",
        "expert_schema",
        "expert_leakage",
        "mix_schema",
        "mix_leakage",
        "mix_degenerate",
        "mix_weights",
    }
    assert not blocking & {
        "evaluation_gate",
        "enough_plays",
        "plays_are_filmed",
        "corrections_are_taught",
        "gate_passed",
        "what_serves_is_sound",
    }


def test_opening_an_iteration_reports_its_base_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_iteration(instance) == "000"
        open_first_iteration(instance)
        assert base_policy_of(instance, "001") is None
        open_iteration(instance, 1, {"policy": "planner-000-0123456789"})
        open_iteration(instance, 1, {"policy": "another"})
        assert (base_policy_of(instance, "000"), base_policy_of(instance, "001")) == ("", "planner-000-0123456789")
        assert instance.get_dynamic_partitions("planner_iterations") == ["000", "001"]
        events = instance.fetch_materializations(base_policy.key, limit=10).records
        assert sorted(event.partition_key or "" for event in events) == ["000", "001"]


def test_jobs_hold_what_is_started_as_one() -> None:
    for name, held in (
        ("planner_iteration_0", {"household_episodes", *TEACHING, *LEARNING}),
        ("planner_collection", {*PEOPLE, *SHOWN}),
        ("planner_refinement", {"expert_samples", *LEARNING}),
    ):
        job = build_defs().resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == held


def test_runs_that_write_the_same_files_follow_one_another() -> None:
    import yaml

    from flywheel.dagster_home import source_root
    from hitl_assets.planner_jobs import ALONE

    settings = yaml.safe_load((source_root() / "dagster.yaml").read_text())
    (limit,) = settings["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit == {"key": ALONE, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    for name in ("planner_collection", "planner_refinement"):
        assert build_defs().resolve_job_def(name).run_tags[ALONE] == name
