"""The graph reads as the design says: who follows whom, and what a person is told about each asset."""

from __future__ import annotations

import itertools

import dagster as dg

from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import base_policy, open_first_iteration, open_iteration, planner_iterations

PEOPLE = ["session_logs", "session_scores", "human_gold_samples"]
ORDER = ["teacher_rollouts", "distilled_samples", "planner_adapter", "planner_policy", "planner_evaluation"]


def _graph() -> dg.AssetGraph:
    return build_defs().resolve_asset_graph()


def test_follows_the_design() -> None:
    graph = _graph()
    for before, after in itertools.pairwise(ORDER):
        assert dg.AssetKey(before) in graph.get(dg.AssetKey(after)).parent_keys
    assert dg.AssetKey("household_episodes") in graph.get(dg.AssetKey("teacher_rollouts")).parent_keys
    assert dg.AssetKey("base_policy") in graph.get(dg.AssetKey("planner_adapter")).parent_keys
    for before, after in itertools.pairwise(["base_policy", *PEOPLE]):
        assert dg.AssetKey(before) in graph.get(dg.AssetKey(after)).parent_keys
    assert dg.AssetKey("household_episodes") in graph.get(dg.AssetKey("human_gold_samples")).parent_keys
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "base_policy",
        "household_episodes",
        *ORDER,
        *PEOPLE,
    }


def test_iterations_are_partitions_and_episodes_are_shared() -> None:
    graph = _graph()
    for name in ["base_policy", *ORDER, *PEOPLE]:
        assert graph.get(dg.AssetKey(name)).partitions_def == planner_iterations
    assert graph.get(dg.AssetKey("household_episodes")).partitions_def is None
    assert not graph.get(dg.AssetKey("base_policy")).is_materializable


def test_every_asset_says_what_it_is() -> None:
    for node in _graph().asset_nodes:
        name = node.key.to_user_string()
        assert node.group_name == "planner", name
        assert node.owners, name
        assert node.kinds, name
        assert len(node.description or "") > 60, name
        assert node.tags.get("flywheel/stage"), name
        if node.is_materializable:
            assert node.code_version, name


def test_only_training_waits_for_the_accelerator() -> None:
    pools = {node.key.to_user_string(): node.pools for node in _graph().asset_nodes if node.is_materializable}
    assert {name for name, held in pools.items() if "gpu" in (held or ())} == {"planner_adapter"}


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
    }
    assert not blocking & {"evaluation_gate", "enough_plays"}


def test_opening_an_iteration_reports_its_base_once() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert open_first_iteration(instance) == "000"
        open_first_iteration(instance)
        open_iteration(instance, 1, {"policy": "planner-000-0123456789"})
        assert instance.get_dynamic_partitions("planner_iterations") == ["000", "001"]
        events = instance.fetch_materializations(base_policy.key, limit=10).records
        assert sorted(event.partition_key or "" for event in events) == ["000", "001"]


def test_jobs_hold_what_is_started_as_one() -> None:
    for name, held in (("planner_iteration_0", {"household_episodes", *ORDER}), ("planner_collection", set(PEOPLE))):
        job = build_defs().resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == held


def test_collections_are_taken_up_one_after_the_other() -> None:
    import yaml

    from flywheel.dagster_home import source_root
    from hitl_assets.planner_jobs import ALONE

    settings = yaml.safe_load((source_root() / "dagster.yaml").read_text())
    (limit,) = settings["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit == {"key": ALONE, "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    assert build_defs().resolve_job_def("planner_collection").run_tags[ALONE] == "planner_collection"
