"""A store with one small, sound iteration in it: made once, copied for every test that spoils it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.store import Store
from hitl_ops.rollouts.episode_sets import generate_episode_sets
from hitl_ops.rollouts.play import play_episode
from resources.store import StoreResource


@pytest.fixture(scope="session")
def sound_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes, teacher's traces and samples of the preset tiny_ci."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.experts.oracle import Oracle
    from hitl_ops.records.traces import trace_path, write_trace
    from hitl_ops.rollouts.episode_sets import episode_file
    from hitl_ops.samples.build import build_samples
    from hitl_ops.samples.data_card import write_data_card

    root = tmp_path_factory.mktemp("sound")
    store = Store.at(root)
    preset = PresetChoice(name="tiny_ci").resolve()
    generate_episode_sets(preset.episodes, store.episodes)
    iteration = store.iteration("planner", 0)
    traces = iteration.rollouts / "teacher" / "traces"
    oracle = Oracle("full")
    for episode in read_episodes(episode_file(store.episodes, "train")):
        played = play_episode(episode, {0: oracle, 1: oracle}, keep_world_graph=False)
        write_trace(trace_path(traces, episode.episode_id), played.header, played.decisions, played.result)
    build_samples(traces, preset.samples, iteration.samples / "distilled.parquet")
    write_data_card(iteration.samples / "distilled.parquet", iteration.samples)
    return root


@pytest.fixture
def store(sound_store: Path, tmp_path: Path) -> StoreResource:
    """A copy of the sound store, to be spoiled."""
    root = tmp_path / "store"
    shutil.copytree(sound_store, root)
    return StoreResource(home=str(root))


@pytest.fixture
def verdict(store: StoreResource) -> Callable[..., dg.AssetCheckResult]:
    """Runs a check on the store for partition 000, as Dagster would."""

    def run(check: dg.AssetChecksDefinition, preset: PresetChoice | None = None) -> dg.AssetCheckResult:
        resources = {"store": store, "preset": preset or PresetChoice(name="tiny_ci")}
        with dg.DagsterInstance.ephemeral() as instance:
            job = dg.Definitions(asset_checks=[check], resources=resources).resolve_implicit_global_asset_job_def()
            result = job.execute_in_process(instance=instance, tags={"dagster/partition": "000"}, raise_on_error=False)
            evaluations = result.get_asset_check_evaluations()
            assert len(evaluations) == 1, "the check did not come to a verdict"
            found = evaluations[0]
        return dg.AssetCheckResult(
            passed=found.passed, severity=found.severity, description=found.description, metadata=found.metadata
        )

    return run
