"""The station's sensors: a finished epoch starts one run, a decision opens the next, what is said later counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.station_iterations import STATION_LOOP, open_first_station_iteration
from hitl_ops.contracts.station_epoch import EpochFolder, make_manifest, publish_manifest
from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.records.station_hdf5 import read_station_facts
from hitl_ops.serving.training_state import TrainingState, training_state_file
from resources.store import StoreResource
from sensors import station as sensors
from sensors.station import finished_epoch, next_station_iteration, station_changes
from tests.support.evaluated_policies import write_evaluation
from tests.support.registries import with_registry
from tests.support.robot_policies import write_hold_policy
from tests.support.station_recordings import record
from tests.support.station_verdicts import say_of_episode

Look = Callable[..., Any]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        open_first_station_iteration(opened)
        yield opened


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(sensors, "WATCH_S", 0.0)
    return Store.at(tmp_path)


@pytest.fixture
def look(instance: dg.DagsterInstance, root: Store) -> Look:
    """Evaluates a sensor as the daemon would: events and partitions are applied, runs are remembered."""

    def evaluate(sensor: Any, *overrides: str) -> Any:
        preset = StationPresetChoice(name="tiny_ci", overrides=list(overrides))
        context = dg.build_sensor_context(
            instance=instance, resources={"store": StoreResource(home=str(root.root)), "station_preset": preset}
        )
        result: Any = sensor(context)
        if isinstance(result, dg.SkipReason):
            return result.skip_message
        for event in result.asset_events or []:
            instance.report_runless_asset_event(event)
        for request in result.dynamic_partitions_requests or []:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        for request in result.run_requests or []:
            instance.create_run_for_job(
                _job(),
                tags={**request.tags, "dagster/run_key": request.run_key, "dagster/partition": request.partition_key},
                status=dg.DagsterRunStatus.FAILURE,
            )
        return result

    return evaluate


def _job() -> Any:
    @dg.op
    def nothing() -> None: ...

    @dg.job(name="station_refinement")
    def refinement() -> None:
        nothing()

    return refinement


def _sent(store: Store, epoch: int, *, station: str = "", episodes: int = 1, task: str = "lift_lid") -> EpochFolder:
    folder = EpochFolder(store.station_incoming, task, epoch)
    for number in range(episodes):
        record(folder.episode(number, station), 5, seed=number)
    publish_manifest(folder, make_manifest(folder, station))
    return folder


def test_a_finished_epoch_starts_one_run(look: Look, instance: dg.DagsterInstance, root: Store) -> None:
    assert "made of demonstrations" in look(finished_epoch)
    STATION_LOOP.open(instance, 1, {"policy": "station-000-0123456789"})
    _sent(root, 2)
    assert look(finished_epoch) == "iteration 001 waits for synced.json"
    _sent(root, 1)
    (request,) = look(finished_epoch).run_requests
    assert request.partition_key == "001" and request.run_key.startswith("station/001/")
    # What the run is made from was told with it, so that it is no change afterwards.
    assert look(station_changes) == "nothing has changed"
    assert "a run was started for these episodes already" in look(finished_epoch)
    # Another station's epoch is something new.
    _sent(root, 1, station="west")
    (again,) = look(finished_epoch).run_requests
    assert again.run_key != request.run_key and again.tags["flywheel/stations"] == "2"
    instance.report_runless_asset_event(dg.AssetMaterialization(STATION_LOOP.decision, partition="001"))
    assert look(finished_epoch) == "iteration 001 is decided"


def test_every_expected_station_is_waited_for_and_damage_is_named(
    look: Look, instance: dg.DagsterInstance, root: Store
) -> None:
    STATION_LOOP.open(instance, 1, {})
    stations = "collection.stations=[east, west]"
    folder = _sent(root, 1, station="east")
    assert look(finished_epoch, stations) == "iteration 001 waits for synced-west.json, 1 came"
    folder.manifest("west").write_text('{"task": ', encoding="utf-8")
    said = look(finished_epoch, stations)
    assert said.startswith("iteration 001 waits for synced-west.json") and "is damaged" in said
    # One of another epoch, laid here by hand.
    shutil.copy(_sent(root, 2, station="west").manifest("west"), folder.manifest("west"))
    assert "is of task 'lift_lid', epoch 2, station 'west'" in look(finished_epoch, stations)
    _sent(root, 1, station="west")
    assert len(look(finished_epoch, stations).run_requests) == 1


def test_what_is_said_later_is_a_change_here_and_in_every_later_iteration(
    look: Look, instance: dg.DagsterInstance, root: Store
) -> None:
    for iteration in (1, 2):
        STATION_LOOP.open(instance, iteration, {})
        _sent(root, iteration)
    look(station_changes)
    assert look(station_changes) == "nothing has changed"
    episode = read_station_facts(EpochFolder(root.station_incoming, "lift_lid", 1).episode(0)).episode_id
    with closing(LabelStore.open(root.labels_url)) as labels:
        say_of_episode(labels, episode, "bad", epoch=1)
        told = {(event.asset_key.to_user_string(), event.partition) for event in look(station_changes).asset_events}
        assert told == {("station_epoch", "001"), ("station_input", "001"), ("station_input", "002")}
        say_of_episode(labels, episode, "withdrawn", epoch=1)
        # What the station said counts again: that is how it stood before.
        assert len(look(station_changes).asset_events) == 3
        assert look(station_changes) == "nothing has changed"


@pytest.mark.slow
def test_a_decision_opens_the_next_iteration_and_exports_the_state(
    look: Look, instance: dg.DagsterInstance, root: Store
) -> None:
    from hitl_ops.serving.policy_alias import promote

    assert look(next_station_iteration) == "iteration 000 is not decided yet"
    instance.report_runless_asset_event(dg.AssetMaterialization(STATION_LOOP.decision, partition="000"))
    assert "promote one with `flywheel promote station 0`" in look(next_station_iteration)
    paths = root.iteration("station", 0)
    first = write_hold_policy(paths.policy)
    write_evaluation(paths.evaluation, first, "11")
    promote(with_registry(root), "station", 0)
    look(next_station_iteration)
    assert STATION_LOOP.opened(instance) == ["000", "001"]
    assert STATION_LOOP.base_policy_of(instance, "001") == first
    # Policy servers name the newest folder as the epoch to collect for.
    assert root.newest_iteration("station") == 1
    file = training_state_file(root, "lift_lid")
    state = TrainingState.model_validate_json(file.read_bytes())
    assert (state.epoch, state.status, state.config_name) == (1, "collecting_data", "act_bimanual")
    assert Path(state.last_checkpoint) == root.policy("station", first) / "merged"
    instance.report_runless_asset_event(dg.AssetMaterialization(STATION_LOOP.decision, partition="001"))
    assert look(next_station_iteration) == "iteration 001 was the last of 1"


def test_they_are_on_by_themselves() -> None:
    for sensor in (finished_epoch, next_station_iteration, station_changes):
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
