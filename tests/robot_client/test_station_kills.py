"""The client and the upload server killed at random moments: nothing that was finished is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.station_epoch import (
    EpochFolder,
    episode_files,
    epoch_folders,
    missing_of,
    read_manifest,
    sha256_of,
)
from hitl_ops.records.station_hdf5 import list_station_episodes, read_station_episode
from tests.support.openpi_server import OpenpiServer, metadata, openpi_server
from tests.support.station_runs import written_config
from tests.support.upload_server import UploadProcess

pytestmark = [pytest.mark.slow, pytest.mark.integration]

KILLS = 10


class Client:
    """The station client with a simulated person, started again and again."""

    def __init__(self, config: Path, token: str) -> None:
        self._words = [sys.executable, "-m", "robot_client", "--config", str(config), "--simulated-person", "6"]
        self._environment = {**os.environ, "FLYWHEEL_UPLOAD_TOKEN": token}
        self._log = config.with_name("client.txt")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._words, "--plain"], stdout=output, stderr=subprocess.STDOUT, env=self._environment
            )

    def wait_until_it_runs(self, before: int) -> None:
        """Until it has shown its first state; ``before`` is how often it had been shown."""
        deadline = time.monotonic() + 60
        while self.said.count("[WAITING]") <= before:
            assert self.process is not None
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.said
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def policy() -> Iterator[OpenpiServer]:
    with openpi_server(metadata("policy-0", 0)) as running:
        yield running


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[UploadProcess]:
    server = UploadProcess(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def test_client_and_server_killed_at_random_moments(
    tmp_path: Path, policy: OpenpiServer, uploads: UploadProcess
) -> None:
    chance = random.Random(7)
    config = written_config(
        tmp_path,
        policy.port,
        training={"max_epochs": 400},
        robot={"options": {"lockstep": True, "done_after": 60}},
        data={"upload": {"enabled": True, "url": uploads.url, "chunk_mb": 0.01}, "retry_s": 0.2},
    )
    here, there = tmp_path / "data", uploads.home / "station" / "incoming"
    client = Client(config, uploads.token)
    finished: dict[Path, str] = {}
    epoch = 0
    for number in range(KILLS):
        shown = client.said.count("[WAITING]")
        client.start()
        if number % 5:  # and now and then while it starts
            client.wait_until_it_runs(shown)
        until = time.monotonic() + chance.uniform(0.05, 1.5)
        while time.monotonic() < until:
            if EpochFolder(here, "lift_lid", epoch).finished():
                epoch += 1
                policy.metadata = metadata(f"policy-{epoch}", epoch)
            time.sleep(0.02)
        # Whatever lies there as an episode now is finished, and must be the same for ever.
        seen = {file: sha256_of(file) for file in list_station_episodes(here)}
        if number in (3, 6):  # the server goes first, and the client on for a moment without it
            uploads.kill()
            time.sleep(0.3)
        client.kill()
        finished |= seen
        if number in (1, 3, 6, 8):
            uploads.kill()
            uploads.start()
    client.start()
    deadline = time.monotonic() + 90
    while not EpochFolder(here, "lift_lid", epoch).finished():
        assert time.monotonic() < deadline, client.said[-3000:]
        time.sleep(0.05)
    client.kill()

    assert len(finished) >= 6
    for file, digest in finished.items():
        assert sha256_of(file) == digest
    files = list_station_episodes(here)
    ids = [read_station_episode(file).facts.episode_id for file in files]
    assert len(set(ids)) == len(ids)
    assert not list(here.rglob("*.part"))
    done = [folder for folder in epoch_folders(here, "lift_lid") if folder.finished()]
    assert [folder.epoch for folder in done] == list(range(epoch + 1))
    for folder in done:
        manifest = read_manifest(folder.manifest())
        # The manifest names every episode of the epoch, and the server has each of them, whole and once.
        assert [episode.name for episode in manifest.episodes] == [file.name for file in episode_files(folder)]
        remote = EpochFolder(there, "lift_lid", folder.epoch)
        assert missing_of(remote, manifest) == []
        assert read_manifest(remote.manifest()) == manifest
        assert len(episode_files(remote)) == len(manifest.episodes)
