"""From epoch to epoch: which one is collected, what is sent when, and what a new start finds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import (
    EpochFolder,
    EpochManifest,
    episode_files,
    missing_of,
    read_manifest,
)
from hitl_ops.records.station_hdf5 import read_station_episode, read_station_facts
from robot_client.people import SimulatedPerson
from robot_client.recordings import Recordings
from robot_client.states import State
from robot_client.sync.sending import Say, SyncFailed
from tests.support.openpi_server import EMPTY_METADATA, OpenpiServer, metadata, openpi_server
from tests.support.station_recordings import record
from tests.support.station_recordings import robot as waving_robot
from tests.support.station_runs import Pressing, StationRun, station_config
from tests.support.toy_arms import ToyArms

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[OpenpiServer]:
    with openpi_server(metadata("base", 0)) as running:
        yield running


def quick_robot(done_after: int = 20) -> ToyArms:
    return ToyArms(lockstep=True, done_after=done_after)


class Noting:
    """A way to the server that notes what is sent, and fails as often as it is told.

    Args:
        failures: how often.
    """

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[EpochManifest] = []

    def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: object) -> None:
        if self.failures:
            self.failures -= 1
            raise SyncFailed("the server is away", "start it")
        self.sent.append(manifest)


def test_a_simulated_person_collects_epochs_by_the_simulators_truth(tmp_path: Path, server: OpenpiServer) -> None:
    robot = quick_robot()
    sync = Noting()
    run = StationRun(station_config(tmp_path, server.port), robot, SimulatedPerson(3), sync=sync)
    assert run.run() == 0
    facts = [read_station_facts(file) for file in run.episodes]
    assert [(fact.verdict, fact.success, fact.sim, fact.iteration) for fact in facts] == [("good", True, True, 0)] * 3
    assert [len(manifest.episodes) for manifest in sync.sent] == [3]
    episode = read_station_episode(run.episodes[0])
    # Done after 20 actions, and a fifth of a second more.
    assert 29 <= episode.frames <= 33
    assert episode.timestamp[:2].tolist() == [0.0, 0.02]
    # Every episode is another scene; the reset after the label sets up the next one's.
    assert len(set(robot.seeds[::2])) == 3


def test_failures_are_labelled_bad(tmp_path: Path, server: OpenpiServer) -> None:
    run = StationRun(
        station_config(tmp_path, server.port), quick_robot(10**6), SimulatedPerson(1, patience_s=1.0), sync=Noting()
    )
    assert run.run() == 0
    facts = read_station_facts(run.episodes[0])
    assert (facts.verdict, facts.success, facts.status) == ("bad", False, "complete")


def test_the_next_epoch_waits_for_the_next_policy(tmp_path: Path, server: OpenpiServer) -> None:
    waits: list[int] = []

    class Serving(Noting):
        """Trains while the station waits: the next policy is served a few looks later."""

        def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: object) -> None:
            super().send(folder, manifest, say, stopped)
            waits.append(server.connections)

    person = SimulatedPerson(1)
    run = StationRun(station_config(tmp_path, server.port), quick_robot(), person, sync=Serving())
    looks = []
    waited = run.emergency.wait

    def wait(seconds: float) -> bool:
        if waits:
            looks.append(server.connections)
            if len(looks) == 3:
                server.metadata = metadata("next", 1)
        return waited(min(seconds, 0.02))

    run.emergency.wait = wait  # type: ignore[method-assign]
    assert run.run(epochs=2) == 0
    assert [(facts.iteration, facts.policy_id) for facts in map(read_station_facts, run.episodes)] == [
        (0, "base"),
        (1, "next"),
    ]
    assert len(looks) >= 3


def test_a_server_that_names_no_policy_is_new_once_it_was_started_anew(tmp_path: Path) -> None:
    with openpi_server(EMPTY_METADATA) as server:
        sync = Noting()
        run = StationRun(station_config(tmp_path, server.port), quick_robot(), SimulatedPerson(1), sync=sync)
        waited, looks = run.emergency.wait, []

        def wait(seconds: float) -> bool:
            if len(sync.sent) == 1 and run.station is not None and run.station.view.state is State.WAITING:
                looks.append(run.station.view.state)
                if len(looks) == 5:
                    server.cut()  # as a restart looks from here
            return waited(min(seconds, 0.02))

        run.emergency.wait = wait  # type: ignore[method-assign]
        assert run.run(epochs=2) == 0
    assert [facts.iteration for facts in map(read_station_facts, run.episodes)] == [0, 1]
    assert len(looks) >= 5


def test_starting_immediately_takes_the_policy_there_is(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port)
    assert StationRun(config, quick_robot(), SimulatedPerson(1), sync=Noting()).run() == 0
    # Epoch 0 is finished, and the server has nothing newer: what is collected now belongs to the next epoch.
    run = StationRun(config, quick_robot(), SimulatedPerson(1), sync=Noting())
    assert run.run(start_immediately=True) == 0
    assert [(facts.iteration, facts.policy_id) for facts in map(read_station_facts, run.episodes)] == [
        (0, "base"),
        (1, "base"),
    ]


def test_a_sync_that_fails_is_tried_again_until_everything_has_arrived(tmp_path: Path, server: OpenpiServer) -> None:
    sync = Noting(failures=2)
    run = StationRun(station_config(tmp_path, server.port), quick_robot(), SimulatedPerson(2), sync=sync)
    assert run.run() == 0
    assert run.said.count("the server is away: start it; tried again in 0.1 s") == 2
    folder = EpochFolder(run.config.data.save_dir, "lift_lid", 0)
    assert read_manifest(folder.manifest()) == sync.sent[0]
    assert missing_of(folder, sync.sent[0]) == []


def test_an_epoch_that_was_closed_before_a_kill_is_only_sent(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port)
    recordings = Recordings(config.data, config.task)
    record(recordings.folder(0).episode(0))
    recordings.close_epoch(0)
    recordings.close()
    sync = Noting()
    person = Pressing({})
    run = StationRun(config, quick_robot(), person, sync=sync)
    waited = run.emergency.wait

    def wait(seconds: float) -> bool:
        if sync.sent:
            run.emergency.take()
        return waited(seconds)

    run.emergency.wait = wait  # type: ignore[method-assign]
    assert run.run() == 130
    assert [manifest.epoch for manifest in sync.sent] == [0]
    assert State.READY not in person.seen
    assert [file.name for file in episode_files(recordings.folder(0))] == ["episode_0.hdf5"]


def test_episodes_of_an_open_epoch_count_after_a_new_start(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port)
    recordings = Recordings(config.data, config.task)
    record(recordings.folder(0).episode(0), label="bad")
    record(recordings.folder(0).episode(4), aborted=True)
    recordings.close()
    sync = Noting()
    run = StationRun(config, quick_robot(), SimulatedPerson(2), sync=sync)
    assert run.run() == 0
    assert [episode.name for episode in sync.sent[0].episodes] == [f"episode_{number}.hdf5" for number in (0, 4, 5)]
    assert "Episodes collected this epoch: 1 (0 good, 1 bad, 1 aborted)" in run.said


def test_what_a_kill_left_is_repaired_and_its_number_never_given_again(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port)
    recordings = Recordings(config.data, config.task)
    writer = recordings.begin(0, waving_robot(), "base", simulated=True)
    recordings.close()
    # What the killed client's journal looked like is what it left, less the lock.
    shutil.copy(writer.journal, tmp_path / "left")
    writer.abort("never mind")
    shutil.copy(tmp_path / "left", writer.journal)
    again = Recordings(config.data, config.task)
    assert [repaired.journal.name for repaired in again.repaired] == ["episode_0.hdf5.part"]
    assert again.next_number(0) == 0  # it held no frame, so there is nothing to keep
    record(again.folder(0).episode(6))
    assert again.next_number(0) == 7
    again.close()


def test_one_client_at_a_time(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port)
    first = Recordings(config.data, config.task)
    with pytest.raises(UserError, match="another client records into"):
        Recordings(config.data, config.task)
    first.close()
    Recordings(config.data, config.task).close()


def test_stations_with_names_do_not_get_in_each_others_way(tmp_path: Path, server: OpenpiServer) -> None:
    names = ("north", "south")
    for name in names:
        config = station_config(tmp_path, server.port, data={"station": name})
        assert StationRun(config, quick_robot(), SimulatedPerson(1), sync=Noting()).run() == 0
    folder = EpochFolder(tmp_path / "recordings", "lift_lid", 0)
    assert sorted(manifest.station for manifest in folder.manifests()) == list(names)
    for name in names:
        assert len(episode_files(folder, name)) == 1
    assert episode_files(folder) == []


def test_labels_that_are_given_later_are_not_asked_for(tmp_path: Path, server: OpenpiServer) -> None:
    config = station_config(tmp_path, server.port, training={"labeling_mode": "later"})
    keys = {State.READY: ["y"], State.EXECUTING: ["s"], State.LABELING: ["r"], State.DECIDING: ["n"]}
    robot = quick_robot()
    keys[State.EXECUTING] = lambda _situation: ["s"] if len(robot.commands) > 5 else []  # type: ignore[assignment]
    run = StationRun(config, robot, Pressing(keys), sync=Noting())  # type: ignore[arg-type]
    assert run.run() == 0
    facts = read_station_facts(run.episodes[0])
    assert (facts.status, facts.verdict) == ("complete", None)
