"""The loop under a real `dagster dev`: the last play that was needed is finished, and the graph goes on by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.collection_sensor import RunningDagster, running_dagster
from hitl_ops.contracts.episode import read_episodes
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.samples.parquet import read_samples
from tests.support.collected_plays import collection

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def _made(dagster: RunningDagster, run_id: str) -> dict[str, str | None]:
    """Assets a run has made, with their partitions."""
    events = [entry.dagster_event for entry in dagster.instance.all_logs(run_id) if entry.dagster_event]
    made = [event.step_materialization_data.materialization for event in events if event.is_step_materialization]
    return {event.asset_key.to_user_string(): event.partition for event in made}


def test_the_last_play_needed_starts_the_run_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    collected, _ = collection(tmp_path / "store")  # five plays, one less than the target
    episodes = read_episodes(episode_file(collected.store.episodes, "train"))
    variables = {"FLYWHEEL_PRESET": "tiny_ci", "FLYWHEEL_COLLECTION_TARGET": "6"}
    with running_dagster(collected.store, **variables) as dagster:
        time.sleep(6)  # one more round of the daemon
        assert not dagster.runs()

        collected.play(episodes[3], "dora")
        run = dagster.started(0, within_s=240)
        took = (run.start_time or 0.0) - collected.acknowledged
        print(f"from the last acknowledged event to the run's start: {took:.2f} s")
        record_property("seconds_to_run", round(took, 3))
        assert run.dagster_run.tags["dagster/partition"] == "000"
        ended = dagster.ended(0, within_s=240)
        assert ended.dagster_run.status is dg.DagsterRunStatus.SUCCESS, dagster.log.read_text()[-4000:]
        assert _made(dagster, ended.dagster_run.run_id) == {
            "session_logs": "000",
            "session_scores": "000",
            "human_gold_samples": "000",
            "annotation_queue": "000",
            "session_videos": "000",
        }
        samples = collected.store.iteration("planner", 0).samples
        taught = json.loads((samples / "human_gold" / "chosen_plays.json").read_text())
        assert [play["episode_id"] for play in taught] == [episodes[0].episode_id, episodes[3].episode_id]
        assert {sample.episode_id for sample in read_samples(samples / "human_gold.parquet")} == {
            play["episode_id"] for play in taught
        }

        collected.play(episodes[3], "dora", solve=False, attempt=2)
        seen = dagster.ticks()[0].timestamp
        dagster.until(lambda: dagster.ticks()[0].timestamp > seen + 6, within_s=120)
        assert len(dagster.runs()) == 1  # further plays wait for the next mark

    # Another server on the same store remembers; another iteration is opened by those who play it.
    collected.iteration, collected.people = 1, {}
    for number in range(6):
        collected.play(episodes[number], "emil", solve=number < 2)
    with running_dagster(collected.store, **variables) as dagster:
        dagster.started(1, within_s=240)
        ended = dagster.ended(1, within_s=240)
        assert ended.dagster_run.tags["dagster/partition"] == "001"
        assert ended.dagster_run.status is dg.DagsterRunStatus.SUCCESS, dagster.log.read_text()[-4000:]
        assert dagster.instance.get_dynamic_partitions("planner_iterations") == ["000", "001"]
        assert "001" in dagster.instance.get_materialized_partitions(dg.AssetKey("base_policy"))
        assert len(dagster.runs()) == 2
