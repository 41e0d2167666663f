"""The station's loop at its smallest, in process: two iterations, what then counts as stale, a refusal, the way on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from hitl_assets.station_iterations import STATION_LOOP, open_first_station_iteration
from hitl_assets.station_opening import open_station_iteration_that_is_due
from hitl_assets.station_versions import report_station_versions
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.gate import read_gate
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.robot_evaluation import PARTS
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.models.planner_lm import read_card
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.records.station_hdf5 import read_station_facts
from hitl_ops.serving.policy_alias import resolve
from hitl_ops.serving.training_state import TrainingState, training_state_file
from tests.support.looped_store import made, succeeded
from tests.support.registries import with_registry
from tests.support.station_store import StationLoop, collect
from tests.support.station_verdicts import say_of_episode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LEARNED = {"station_dataset", "station_policy", "station_evaluation", "station_promotion"}
CAREFUL = ("refinement.start=previous", "collection.refused_epochs=leave_out", "loop.iterations=3")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationLoop]:
    """Iterations 000 and 001, both through. Tests run in their order, each on what the one before left."""
    folder = tmp_path_factory.mktemp("station")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        turning = StationLoop(with_registry(Store.at(folder / "store")), instance)
        open_first_station_iteration(instance)
        succeeded(turning.run("station_iteration_0", 0))
        turning.open(1)
        collect(turning.store, 1, ["good", "bad", "good"], aborted=1)
        succeeded(turning.run("station_refinement", 1, *CAREFUL))
        yield turning


def _policy(loop: StationLoop, iteration: int) -> str:
    return read_card(loop.store.iteration("station", iteration).policy).policy_id


def _state(loop: StationLoop) -> TrainingState:
    return TrainingState.model_validate_json(training_state_file(loop.store, "lift_lid").read_bytes())


def test_the_second_policy_comes_of_the_first_and_of_what_stations_sent(loop: StationLoop) -> None:
    second = read_card(loop.store.iteration("station", 1).policy)
    assert second.parent == _policy(loop, 0) == STATION_LOOP.base_policy_of(loop.instance, "001")
    assert second.sample_counts["good"] > 0 and second.sample_counts["bad"] > 0
    dataset = open_lerobot(loop.store.iteration("station", 1).samples / "dataset")
    told = [(entry.facts["iteration"], entry.facts["advantage"]) for entry in dataset.entries()]
    assert told == [(0, True), (0, True), (1, True), (1, False), (1, True)]
    assert set(dataset.tasks.values()) == {
        "Lift the lid off the bowl, Advantage=True",
        "Lift the lid off the bowl, Advantage=False",
    }
    verdict = read_gate(loop.store.iteration("station", 1).evaluation)
    assert verdict is not None and verdict.promote and verdict.serving == second.parent
    assert (_state(loop).epoch, _state(loop).status) == (1, "collecting_data")
    assert loop.stale() == set()


def test_an_episode_judged_otherwise_makes_exactly_its_descendants_stale(loop: StationLoop) -> None:
    file = EpochFolder(loop.store.station_incoming, "lift_lid", 1).episode(0)
    with closing(LabelStore.open(loop.store.labels_url)) as labels:
        say_of_episode(labels, read_station_facts(file).episode_id, "exclude", epoch=1)
    report_station_versions(loop.instance, loop.store)
    assert loop.stale() == {(name, "001") for name in {"station_recordings", *LEARNED}}
    result = succeeded(loop.run("station_refinement", 1, *CAREFUL))
    assert (made(result, "station_dataset")["episodes"], made(result, "station_recordings")["excluded"]) == (4, 1)
    assert loop.stale() == set()


def test_a_worse_policy_is_refused_and_stations_go_on(loop: StationLoop) -> None:
    assert open_station_iteration_that_is_due(loop.instance, loop.store, loop.preset(*CAREFUL)) == "002"
    served = resolve(loop.store, "station")
    assert served is not None
    # What serves has solved everything, its evaluation says from now on; a policy of four steps solves nothing.
    for file in (loop.store.iteration("station", 1).evaluation / PARTS).glob("*.jsonl.gz"):
        _solve(file, served.policy_id)
    collect(loop.store, 2, ["bad", "good"])
    result = succeeded(loop.run("station_refinement", 2, *CAREFUL))
    promotion = made(result, "station_promotion")
    assert promotion["promoted"] is False and promotion["why"].startswith("may not serve: 0.0% against 100.0%")
    assert promotion["serves"] == served.policy_id != promotion["student"] == _policy(loop, 2)
    assert resolve(loop.store, "station") == served

    assert open_station_iteration_that_is_due(loop.instance, loop.store, loop.preset(*CAREFUL)) == "003"
    assert STATION_LOOP.base_policy_of(loop.instance, "003") == served.policy_id
    assert loop.store.newest_iteration("station") == 3, "policy servers name the epoch that is open"
    assert (_state(loop).epoch, Path(_state(loop).last_checkpoint).parent.name) == (3, served.policy_id)
    collect(loop.store, 3, ["good"])
    only = ["station_recordings", "station_dataset"]
    result = succeeded(loop.run("station_refinement", 3, *CAREFUL, only=only))
    assert made(result, "station_dataset")["refused epochs left out"] == "002"
    assert made(result, "station_dataset")["episodes"] == 2 + 2 + 1


def test_a_damaged_epoch_stops_before_anything_is_learned(loop: StationLoop) -> None:
    file = EpochFolder(loop.store.station_incoming, "lift_lid", 3).episode(0)
    file.write_bytes(file.read_bytes()[:-1])
    result = loop.run("station_refinement", 3, *CAREFUL)
    assert not result.success
    (failed,) = [
        found for found in result.get_asset_check_evaluations() if found.severity.value == "ERROR" and not found.passed
    ]
    assert failed.check_name == "recordings_are_whole" and "the manifest says" in (failed.description or "")
    assert "003" not in loop.instance.get_materialized_partitions(dg.AssetKey("station_policy"))


def _solve(file: Path, policy_id: str) -> None:
    scores = [EpisodeScore.model_validate_json(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    if scores[0].policy_id == policy_id:
        solved = [one.model_copy(update={"success": True, "percent_complete": 1.0}) for one in scores]
        file.unlink()  # other evaluations hold the same file under a name of their own
        file.write_bytes(gzip.compress(b"\n".join(one.model_dump_json().encode() for one in solved)))
