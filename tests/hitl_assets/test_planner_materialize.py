"""The graph's first half at work, in process: data versions, going on, starting over, mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import open_first_iteration
from hitl_ops.records.traces import list_traces
from resources.store import StoreResource

Run = Callable[..., dg.ExecuteInProcessResult]
DATA = ["household_episodes", "teacher_rollouts", "distilled_samples"]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Materialises assets for partition 000 with the preset tiny_ci in a store and an instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        open_first_iteration(instance)
        definitions = build_defs(resource_overrides={"store": StoreResource(home=str(tmp_path))})
        job = definitions.resolve_job_def("planner_iteration_0")

        def materialise(assets: list[str], *overrides: str) -> dg.ExecuteInProcessResult:
            return job.execute_in_process(
                instance=instance,
                partition_key="000",
                asset_selection=[dg.AssetKey(name) for name in assets],
                run_config={"resources": {"preset": {"config": {"name": "tiny_ci", "overrides": list(overrides)}}}},
                raise_on_error=False,
            )

        yield materialise


def _made(result: dg.ExecuteInProcessResult, asset: str) -> dg.AssetMaterialization:
    (event,) = result.asset_materializations_for_node(asset)
    return event


def _version(result: dg.ExecuteInProcessResult, asset: str) -> str:
    return (_made(result, asset).tags or {})["dagster/data_version"]


@pytest.mark.slow
def test_data_are_made_once_and_versions_follow_them(run: Run, tmp_path: Path) -> None:
    first = run(DATA)
    assert first.success
    assert {check.check_name for check in first.get_asset_check_evaluations() if check.passed} == {
        "episodes_schema",
        "episodes_leakage",
        "rollouts_schema",
        "teacher_is_worth_learning_from",
        "samples_schema",
        "samples_leakage",
        "samples_degenerate",
    }
    rollouts = _made(first, "teacher_rollouts").metadata
    assert (rollouts["episodes"].value, rollouts["played now"].value, rollouts["success"].value) == (8, 8, 1.0)
    samples = _made(first, "distilled_samples").metadata
    assert samples["samples"].value > 20
    assert "data:image/png;base64," in str(samples["plots"].value)
    texts = list((tmp_path / "planner" / "000" / "samples" / "text").rglob("sample_*.txt"))
    assert len(texts) == samples["texts"].value == samples["samples"].value

    again = run(DATA)
    assert _made(again, "teacher_rollouts").metadata["played now"].value == 0
    assert {name: _version(again, name) for name in DATA} == {name: _version(first, name) for name in DATA}

    # Heavier samples are other samples; the traces they are cut from stay what they are.
    heavier = run(DATA, "samples.weight=2.0")
    assert _version(heavier, "teacher_rollouts") == _version(first, "teacher_rollouts")
    assert _version(heavier, "distilled_samples") != _version(first, "distilled_samples")

    # A lost episode is played again; a teacher told otherwise starts over.
    list_traces(tmp_path / "planner" / "000" / "rollouts" / "teacher" / "traces")[0].unlink()
    assert _made(run(DATA), "teacher_rollouts").metadata["played now"].value == 1
    changed = run(["teacher_rollouts"], "rollouts.decision_limit=19")
    assert _made(changed, "teacher_rollouts").metadata["played now"].value == 8


@pytest.mark.slow
def test_a_smaller_episode_set_teaches_less(run: Run, tmp_path: Path) -> None:
    run(DATA)
    smaller = run(["household_episodes", "distilled_samples"], "episodes.train=5")
    samples = _made(smaller, "distilled_samples").metadata
    assert (samples["episodes"].value, samples["episodes not expected"].value) == (5, 3)
    # The traces stay: a set grown again has them back.
    assert len(list_traces(tmp_path / "planner" / "000" / "rollouts" / "teacher" / "traces")) == 8


@pytest.mark.parametrize(
    ("assets", "overrides", "said"),
    [
        (["teacher_rollouts"], [], "train.json.gz' does not exist"),
        (["household_episodes"], ["episodes.trian=3"], "did you mean 'train'?"),
        (["distilled_samples"], [], "train.json.gz' does not exist"),
        (["household_episodes", "distilled_samples"], [], "record traces first"),
    ],
)
def test_mistakes_fail_once_with_one_line(assets: list[str], overrides: list[str], said: str, run: Run) -> None:
    result = run(assets, *overrides)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None, failure.step_failure_data.error
    assert said in (data.description or "") and "\n" not in (data.description or "")
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


@pytest.mark.slow
def test_leaked_samples_stop_what_follows(run: Run, tmp_path: Path) -> None:
    from hitl_ops.contracts.episode import read_episodes, write_episodes

    run(DATA)
    folder = tmp_path / "episodes"
    train, val = read_episodes(folder / "train.json.gz"), read_episodes(folder / "val.json.gz")
    for episode in val:
        episode.scene_id = train[0].scene_id
    write_episodes(folder / "val.json.gz", val)
    result = run(["distilled_samples", "training_mix"])
    assert not result.success
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed == ["samples_leakage"]
    assert not result.asset_materializations_for_node("training_mix")
