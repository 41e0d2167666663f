"""Everything a station's loop consists of, each a process of its own that can be killed where it stands.

The client with the simulated arms in lockstep and somebody made up at the keys, the policy server with a policy out of
a folder, the upload server, and the conversion of what has come in.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder, epoch_folders, missing_of, read_manifest, sha256_of
from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot
from hitl_ops.records.station_hdf5 import list_station_episodes, read_station_episode, read_station_facts
from tests.support.free_port import free_port
from tests.support.robot_policies import write_hold_policy
from tests.support.station_runs import written_config
from tests.support.upload_server import UploadProcess

TASK = "lift_lid"
EPISODES = 2
"""An epoch."""
VICTIMS = ("client", "policy", "uploads", "convert")


class Program:
    """A program that is started again and again; everything it says goes into one log.

    Args:
        words: its command line.
        log: where its words go.
        environment: beside this process's.
    """

    def __init__(self, words: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._words = [sys.executable, "-m", *words]
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._before = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        """Everything it ever said."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def said_now(self) -> str:
        """What it said since its last start."""
        return self.said[self._before :]

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it."""
        self._before = len(self.said)
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(self._words, stdout=output, stderr=subprocess.STDOUT, env=self._environment)

    def kill(self) -> None:
        """Kill it where it stands."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class StationLoop:
    """The four of them, and what must be true of their files at any moment.

    Args:
        folder: where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.here = folder / "station"
        self.dataset = folder / "dataset"
        self.uploads = UploadProcess(folder / "server")
        self.there = self.uploads.home / "station" / "incoming"
        self.uploads.start()
        self.epoch = 0
        self._policy_folder = folder / "policy"
        self._kept: dict[Path, str] = {}
        self._converted: set[Path] = set()
        self.conversions: Counter[int] = Counter()
        """Exit code → conversions that came to their end."""
        write_hold_policy(self._policy_folder)
        port = free_port()
        config = written_config(
            folder,
            port,
            training={"max_epochs": 400},
            data={
                "save_dir": str(self.here),
                "upload": {"enabled": True, "url": self.uploads.url, "chunk_mb": 0.02},
                "retry_s": 0.2,
            },
            robot={"adapter": "bimanual", "options": {"lockstep": True, "world": {"renderer": "pybullet"}}},
            control={"longest_episode_s": 0.6, "lost_after_s": 2.0},
        )
        serve = ["flywheel", "serve", "--policy", str(self._policy_folder), "--port", str(port), "--no-visualiser"]
        self.programs = {
            "policy": Program([*serve, "--set", "poll_s=0.05"], folder / "policy.txt"),
            "client": Program(
                ["robot_client", "--config", str(config), "--simulated-person", str(EPISODES), "--plain"],
                folder / "client.txt",
                {"FLYWHEEL_UPLOAD_TOKEN": self.uploads.token},
            ),
            "convert": Program(["flywheel", "convert", str(self.there), str(self.dataset)], folder / "convert.txt"),
        }

    def start(self, name: str) -> None:
        """Start one of them, unless it runs; the upload server is waited for."""
        if name == "uploads":
            self.uploads.start()
        elif not self.programs[name].runs:
            self.programs[name].start()
            if name == "convert":
                self._converted = set(list_station_episodes(self.there))

    def kill(self, name: str) -> None:
        """Kill one of them where it stands."""
        if name == "uploads":
            self.uploads.kill()
        else:
            self.programs[name].kill()

    def close(self) -> None:
        """Kill all of them."""
        for name in VICTIMS:
            self.kill(name)

    def pass_time(self, seconds: float) -> None:
        """Let them work, and do what the rest of the loop would: the next policy, conversions of what is new."""
        until = time.monotonic() + seconds
        while True:
            self._turn()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.02, left))

    def _turn(self) -> None:
        if EpochFolder(self.here, TASK, self.epoch).finished():
            self.epoch += 1
            write_hold_policy(self._policy_folder, iteration=self.epoch, seed=self.epoch)
        for name in ("client", "policy"):
            program = self.programs[name]
            assert program.process is None or program.process.poll() in (None, -9), program.said_now[-3000:]
        convert = self.programs["convert"]
        if convert.runs:
            return
        if convert.process is not None and convert.process.returncode != -9:
            self.conversions[convert.process.returncode] += 1
            # Only episodes that count make a data set; the first that come in may all have been cut short.
            assert convert.process.returncode == 0 or "no recording is left" in convert.said_now, convert.said_now
            convert.process = None
        if set(list_station_episodes(self.there)) - self._converted:
            self.start("convert")

    def begin(self, within_s: float = 120.0) -> None:
        """Let them work until the first epoch is on the server."""
        self.start("policy")
        self.start("client")
        self._work_until(lambda: self.epoch > 0, within_s)

    def finish_epoch(self, within_s: float = 120.0) -> None:
        """Let them work until the epoch that is open now is on the server, and everything there in the data set."""
        wanted = self.epoch + 1
        self._work_until(lambda: self.epoch >= wanted, within_s)
        self.note_finished()
        self.kill("client")
        self._work_until(lambda: not self.programs["convert"].runs, within_s)

    def _work_until(self, done: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        self.pass_time(0.1)
        while not done():
            self.pass_time(0.1)
            assert time.monotonic() < deadline, "".join(program.said_now[-2000:] for program in self.programs.values())

    def note_finished(self) -> None:
        """Whatever lies at the station as an episode now is finished, and must be the same for ever."""
        for file in list_station_episodes(self.here):
            if file not in self._kept:
                self._kept[file] = sha256_of(file)

    def check(self) -> None:
        """Nothing finished is lost or doubled; what the server calls complete is; the data set agrees with itself."""
        for file, digest in self._kept.items():
            assert sha256_of(file) == digest, f"{file} has changed"
        announced = len(re.findall(r"^  saved episode_", self.programs["client"].said, re.MULTILINE))
        files = list_station_episodes(self.here)
        ids = Counter(read_station_facts(file).episode_id for file in files)
        assert max(ids.values(), default=1) == 1, "an episode lies there twice"
        assert sum(read_station_facts(file).status == "complete" for file in files) >= announced
        for folder in epoch_folders(self.there, TASK):
            for manifest in folder.manifests():
                assert missing_of(folder, manifest) == []
        self._check_dataset()

    def _check_dataset(self) -> None:
        """The data set agrees with itself; one that a conversion replaces just now is looked at once more."""
        while self.dataset.exists():
            looked_at = self.dataset.stat().st_ino
            try:
                check_dataset(self.dataset)
            except UserError:
                if self.dataset.stat().st_ino == looked_at:
                    raise
                continue
            return

    def check_at_rest(self) -> None:
        """After the last epoch: the server has what the station has, and the data set every episode that counts."""
        self.check()
        done = [folder for folder in epoch_folders(self.here, TASK) if folder.finished()]
        assert [folder.epoch for folder in done] == list(range(self.epoch))
        for folder in done:
            manifest = read_manifest(folder.manifest())
            remote = EpochFolder(self.there, TASK, folder.epoch)
            assert read_manifest(remote.manifest()) == manifest
            names = {episode.name for episode in manifest.episodes}
            assert names == {file.name for file in list_station_episodes(folder.raw)}
            assert names == {file.name for file in remote.raw.iterdir()}, "and no pieces are left behind"
            complete = [read_station_facts(folder.raw / name).status == "complete" for name in names]
            assert sum(complete) >= EPISODES
        there = [read_station_episode(file) for file in list_station_episodes(self.there)]
        # Arms that hold lift no lid.
        assert {episode.facts.verdict for episode in there if episode.facts.status == "complete"} == {"bad"}
        expected = {episode.facts.episode_id: episode.frames for episode in there if episode.facts.verdict}
        entries = list(open_lerobot(self.dataset).entries())
        assert {entry.facts["episode_id"]: entry.length for entry in entries} == expected
        assert len(entries) == len(expected)
        assert not list(self.dataset.parent.glob(".dataset*")), "nothing half is left"
