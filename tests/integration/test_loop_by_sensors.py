"""The loop under a real `dagster dev`, by sensors alone: from the first session to the policy that came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import RunRecord

from benchmarks.collection_sensor import RunningDagster, running_dagster
from flywheel.scripted_collection import collect_by_script
from hitl_assets.planner_iterations import base_policy_of
from hitl_assets.presets import ScriptedCrowd
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.models.planner_lm import read_card
from hitl_ops.samples.parquet import read_samples
from hitl_ops.samples.training_mix import mix_path
from hitl_ops.serving.policy_alias import resolve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]

OVERRIDES = [
    "evaluation.decision_limit=4",
    "evaluation.videos=false",
    "evaluation.splits=[val]",
    "training.export_texts=false",
    "checks.least_human_samples=1",
]


def _flywheel(store: Store, *words: str) -> str:
    """A command as a person types it; what it says."""
    told = subprocess.run(
        [sys.executable, "-m", "flywheel", *words],
        env={**os.environ, "FLYWHEEL_HOME": str(store.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def _runs(dagster: RunningDagster, job: str) -> list[RunRecord]:
    return list(dagster.instance.get_run_records(dg.RunsFilter(job_name=job), ascending=True))


def _succeeded(dagster: RunningDagster, job: str, within_s: float = 1200.0) -> RunRecord:
    """The job's first run, once it has come to its good end."""

    def look() -> RunRecord | None:
        runs = _runs(dagster, job)
        return runs[0] if runs and runs[0].dagster_run.is_finished else None

    run = dagster.until(look, within_s)
    assert run.dagster_run.status is dg.DagsterRunStatus.SUCCESS, dagster.log.read_text(errors="replace")[-4000:]
    return run


def test_from_the_first_session_to_the_policy_that_serves(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    _flywheel(store, "demo", "--preset", "tiny_ci", *(part for value in OVERRIDES for part in ("--set", value)))
    first = resolve(store, "planner")
    assert first is not None and first.policy_id == read_card(store.iteration("planner", 0).policy).policy_id

    variables: dict[str, Any] = {
        "FLYWHEEL_PRESET": "tiny_ci",
        "FLYWHEEL_COLLECTION_TARGET": "2",
        "FLYWHEEL_OVERRIDES": " ".join(OVERRIDES),
    }
    with running_dagster(store, **variables) as dagster:
        # Nobody starts anything from here on: people come and play, an annotator goes through their plays.
        dagster.until(lambda: dagster.instance.get_dynamic_partitions("planner_iterations") == ["000", "001"], 60)
        assert base_policy_of(dagster.instance, "001") == first.policy_id
        collect_by_script(store, 1, 2, ScriptedCrowd(people=2, speed=4.0))
        collected = _succeeded(dagster, "planner_collection")
        assert collected.dagster_run.tags["dagster/partition"] == "001"
        assert not _runs(dagster, "planner_refinement")

        _flywheel(store, "annotate", "--scripted", "--iteration", "1")
        refined = _succeeded(dagster, "planner_refinement")
        assert refined.dagster_run.tags["dagster/partition"] == "001"

        second = read_card(store.iteration("planner", 1).policy)
        assert second.parent == first.policy_id and second.sample_counts["expert"] > 0
        verdict = read_gate(store.iteration("planner", 1).evaluation)
        assert verdict is not None and verdict.serving == first.policy_id and verdict.promote
        serving, previous = resolve(store, "planner"), resolve(store, "planner", "previous")
        assert serving is not None and serving.policy_id == second.policy_id
        assert previous is not None and previous.policy_id == first.policy_id

        # Every correction trains on exactly what the policy saw, and names the label that made it.
        labels = LabelStore(store.labels_url)
        said = {label.id: label for label in labels.labels("correction", program="planner", iteration=1)}
        labels.close()
        corrected = [s for s in read_samples(mix_path(store.iteration("planner", 1))) if s.source == "expert"]
        assert corrected and all(int(number) in said for s in corrected for number in s.label_id.split(","))
        # Who decided: the policy that people played with, or a person who put another action in its place.
        assert {sample.policy_id for sample in corrected if not sample.policy_id.startswith("human:")} == {
            first.policy_id
        }

        # One run each, and none for an iteration beyond the preset's last.
        seen = dagster.ticks()[0].timestamp
        dagster.until(lambda: dagster.ticks()[0].timestamp > seen + 6, within_s=120)
        assert [len(_runs(dagster, job)) for job in ("planner_collection", "planner_refinement")] == [1, 1]
        assert dagster.instance.get_dynamic_partitions("planner_iterations") == ["000", "001"]
