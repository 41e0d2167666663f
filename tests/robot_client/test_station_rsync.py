"""Episodes by rsync, the program itself: into a folder of this machine, and over SSH to a server of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hitl_ops.contracts.station_epoch import (
    EpochFolder,
    EpochManifest,
    make_manifest,
    missing_of,
    read_manifest,
    sha256_of,
)
from hitl_ops.records.station_hdf5 import list_station_episodes
from robot_client.recordings import Recordings
from robot_client.station_config import DataSection, RsyncSection, TaskSection
from robot_client.sync.rsync import Rsync
from robot_client.sync.sending import SyncFailed
from tests.support.openpi_server import metadata, openpi_server
from tests.support.ssh_server import HOST, SshServer, program, ssh_server
from tests.support.station_recordings import record, robot
from tests.support.station_runs import written_config

pytestmark = pytest.mark.integration

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed here")
EPISODES, FRAMES = 2, 120
RATE_KB = 150
"""Slow enough that an episode can be met on its way."""


@pytest.fixture
def here(tmp_path: Path) -> EpochFolder:
    return EpochFolder(tmp_path / "here", "lift_lid", 0)


@pytest.fixture
def there(tmp_path: Path) -> EpochFolder:
    folder = EpochFolder(tmp_path / "there", "lift_lid", 0)
    folder.base.mkdir()
    return folder


def send(folder: EpochFolder, target: str | Path) -> tuple[EpochManifest, list[str]]:
    said: list[str] = []
    manifest = make_manifest(folder)
    Rsync(RsyncSection(enabled=True, target=str(target))).send(folder, manifest, said.append, lambda: False)
    return manifest, said


@needs_rsync
def test_episodes_are_sent_verified_and_only_then_noted(here: EpochFolder, there: EpochFolder) -> None:
    record(here.episode(0))
    record(here.episode(1))
    manifest, said = send(here, there.base)
    assert missing_of(there, manifest) == []
    assert read_manifest(there.manifest()) == manifest
    assert said[-1] == "2 episodes verified on the server"
    before = [file.stat().st_ino for file in list_station_episodes(there.base)]
    send(here, there.base)
    assert [file.stat().st_ino for file in list_station_episodes(there.base)] == before, "nothing is sent twice"


@needs_rsync
def test_another_file_of_the_same_name_is_found_by_its_checksum_and_stays(
    here: EpochFolder, there: EpochFolder
) -> None:
    record(here.episode(0))
    content = bytearray(record(there.episode(0)).read_bytes())
    content[-50] ^= 1
    there.episode(0).write_bytes(content)
    # As long and as old: only its content tells.
    there.episode(0).write_bytes((bytes(content) * 2)[: here.episode(0).stat().st_size])
    shutil.copystat(here.episode(0), there.episode(0))
    before = sha256_of(there.episode(0))
    with pytest.raises(SyncFailed, match=r"1 of 1 episodes are there with other content \(lift_lid/.*episode_0\.hdf5"):
        send(here, there.base)
    assert sha256_of(there.episode(0)) == before
    assert not there.manifest().exists()


def test_rsync_that_is_not_installed_is_named(here: EpochFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    record(here.episode(0))
    monkeypatch.setenv("PATH", str(here.base))
    with pytest.raises(SyncFailed, match=r"rsync is not installed: install it, or use data\.upload"):
        send(here, here.base)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "sshd") as running:
        yield running


@pytest.mark.slow
@needs_rsync
def test_a_server_that_does_not_know_us_is_one_line(
    here: EpochFolder, there: EpochFolder, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(here.episode(0))
    monkeypatch.setenv("PATH", f"{server.programs}:{os.environ['PATH']}")
    send(here, f"{HOST}:{there.base}")
    assert missing_of(there, make_manifest(here)) == []
    (server.programs.parent / "client.pub").write_text("")
    with pytest.raises(SyncFailed, match=r"rsync failed \(.*Permission denied \(publickey.*\): check data\.rsync"):
        send(here, f"{HOST}:{there.base}")
    server.kill()
    with pytest.raises(SyncFailed, match=r"rsync failed \(ssh: connect to host .*Connection refused\)"):
        send(here, f"{HOST}:{there.base}")


class Client:
    """The station's client with an epoch to send over a slow link, in a session of its own."""

    def __init__(self, config: Path, programs: Path) -> None:
        self._words = [sys.executable, "-m", "robot_client", "--config", str(config), "--simulated-person", "1"]
        self._environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        self._log = config.with_name("client.txt")
        self._before = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def said_now(self) -> str:
        """Since its last start."""
        return self.said[self._before :]

    def start(self) -> None:
        self._before = len(self.said)
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._words, "--plain"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def kill(self, *, everything: bool) -> None:
        """Kill the client, or it and what it has started, as a power cut does."""
        assert self.process is not None
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(10)


def until(found: Callable[[], bool], client: Client | None = None) -> None:
    """Wait for it, while the client runs."""
    deadline = time.monotonic() + 60
    while not found():
        said = client.said[-3000:] if client else ""
        assert client is None or (client.process is not None and client.process.poll() is None), said
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


@pytest.mark.slow
@needs_rsync
@pytest.mark.parametrize("way", ["local", "ssh"])
def test_killed_on_the_way_it_goes_on_and_the_manifest_comes_last(
    tmp_path: Path, there: EpochFolder, request: pytest.FixtureRequest, way: str
) -> None:
    server: SshServer | None = request.getfixturevalue("server") if way == "ssh" else None
    programs = server.programs if server else tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    program(programs / "rsync", f"{shutil.which('rsync')} --bwlimit={RATE_KB}")
    data = DataSection(save_dir=tmp_path / "data")
    recordings = Recordings(data, TaskSection(name="lift_lid", description="Lift the lid off the bowl"))
    here = recordings.folder(0)
    for number in range(EPISODES):
        record(here.episode(number), FRAMES, spec=robot("cam_high", size=(96, 128)), seed=number)
    recordings.close_epoch(0)
    recordings.close()
    manifest = make_manifest(here)
    whole = {episode.name: episode.sha256 for episode in manifest.episodes}
    assert all(episode.bytes > 2 * RATE_KB * 1000 for episode in manifest.episodes)
    left: set[Path] = set()

    def on_its_way() -> bool:
        # Its size does not tell: rsync writes a quarter of a megabyte at once.
        return any(file not in left for file in there.raw.glob(".episode_*"))

    def nothing_half() -> None:
        assert not there.manifest().exists()
        for file in list_station_episodes(there.base):
            assert sha256_of(file) == whole[file.name]

    with openpi_server(metadata("base", 0)) as policy:
        target = f"{HOST}:{there.base}" if server else str(there.base)
        config = written_config(
            tmp_path, policy.port, data={"rsync": {"enabled": True, "target": target}, "retry_s": 0.2}
        )
        client = Client(config, programs)
        try:
            client.start()
            until(on_its_way, client)
            time.sleep(0.7)
            client.kill(everything=True)
            if server is not None:  # what came is kept there; in a folder of this machine the receiver was killed too
                until(lambda: any(file.stat().st_size for file in there.raw.glob(".rsync-partial/*")))
            nothing_half()
            left.update(there.raw.glob(".episode_*"))
            client.start()
            until(on_its_way, client)
            client.kill(everything=False)  # its rsync goes on alone, and the next one beside it
            nothing_half()
            client.start()
            if server is not None:
                shown = client.said.count("tried again in 0.2 s")
                until(lambda: client.said_now.count("[SYNCING]") == 1, client)
                server.kill()
                until(lambda: client.said.count("tried again in 0.2 s") > shown, client)
                nothing_half()
                server.start()
            until(here.finished, client)
        finally:
            if client.process is not None and client.process.poll() is None:
                client.kill(everything=True)
    assert read_manifest(here.manifest()) == read_manifest(there.manifest()) == manifest
    assert missing_of(there, manifest) == []
    assert sorted(file.name for file in list_station_episodes(there.base)) == sorted(whole)
