"""What a station has recorded: where the next episode goes, how many there are, what a kill left behind."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named, publish_text
from hitl_ops.contracts.robot import RobotSpec
from hitl_ops.contracts.station_epoch import (
    EpochFolder,
    EpochManifest,
    episode_files,
    episode_number,
    epoch_folders,
    publish_manifest,
)
from hitl_ops.records.station_episode import RepairedEpisode, StationEpisodeWriter, repair_unfinished
from hitl_ops.records.station_hdf5 import StationFacts, read_station_facts
from robot_client.station_config import DataSection, TaskSection


@dataclass
class Tally:
    """The episodes of an epoch."""

    good: int = 0
    bad: int = 0
    unlabelled: int = 0
    aborted: int = 0
    damaged: list[str] = field(default_factory=list)

    @property
    def complete(self) -> int:
        """Those that were not aborted."""
        return self.good + self.bad + self.unlabelled

    def add(self, facts: StationFacts) -> None:
        """Count one more."""
        if facts.status == "aborted":
            self.aborted += 1
        elif facts.verdict is None:
            self.unlabelled += 1
        elif facts.verdict == "good":
            self.good += 1
        else:
            self.bad += 1

    def __str__(self) -> str:
        parts = [f"{self.good} good", f"{self.bad} bad"]
        parts += [f"{self.unlabelled} without label"] if self.unlabelled else []
        parts += [f"{self.aborted} aborted"] if self.aborted else []
        return ", ".join(parts)


class Recordings:
    """The recordings of one task at one station; one client at a time.

    Making it publishes what a killed client left, as aborted episodes.

    Args:
        data: where, and under which station's name.
        task: of what.

    Raises:
        UserError: another client records this task here, the place cannot be written, or what was left is damaged.
    """

    def __init__(self, data: DataSection, task: TaskSection) -> None:
        self._data = data
        self._task = task
        folder = data.save_dir / task.name
        lock = folder / ".station.lock"
        with disk_errors_named(lock):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UserError(f"another client records into '{folder}'", "stop it, or set data.save_dir") from None
        self.repaired: list[RepairedEpisode] = repair_unfinished(folder)

    def close(self) -> None:
        """Let another client record here."""
        os.close(self._lock)

    def folder(self, epoch: int) -> EpochFolder:
        """Where an epoch's episodes are kept."""
        return EpochFolder(self._data.save_dir, self._task.name, epoch)

    def finished(self, epoch: int) -> bool:
        """Whether an epoch has been sent, and is known to have arrived."""
        return self.folder(epoch).finished(self._data.station)

    def close_epoch(self, epoch: int) -> None:
        """Note that nothing more is collected in an epoch: from now on it is only sent, after a kill too.

        Raises:
            CannotWrite: the disk is full.
        """
        publish_text(self._closed(epoch), "")

    def closed(self, epoch: int) -> bool:
        """Whether nothing more is collected in an epoch."""
        return self._closed(epoch).exists()

    def _closed(self, epoch: int) -> Path:
        station = self._data.station
        return self.folder(epoch).path / f".closed{f'-{station}' if station else ''}"

    def finish(self, manifest: EpochManifest) -> None:
        """Note that everything in the manifest has arrived.

        Raises:
            CannotWrite: the disk is full.
        """
        publish_manifest(self.folder(manifest.epoch), manifest)

    def first_unfinished(self) -> int:
        """The epoch after the last one that was finished."""
        done = [folder.epoch for folder in epoch_folders(self._data.save_dir, self._task.name) if self._done(folder)]
        return max(done, default=-1) + 1

    def _done(self, folder: EpochFolder) -> bool:
        return folder.finished(self._data.station)

    def unsent(self, current: int) -> list[int]:
        """Epochs with episodes to be sent: earlier ones that never were, and the current one if it is closed."""
        return [
            folder.epoch
            for folder in epoch_folders(self._data.save_dir, self._task.name)
            if (folder.epoch != current or self.closed(current))
            and not self._done(folder)
            and self.tally(folder.epoch).complete
        ]

    def tally(self, epoch: int) -> Tally:
        """Count an epoch's episodes."""
        tally = Tally()
        for file in episode_files(self.folder(epoch), self._data.station):
            try:
                tally.add(read_station_facts(file))
            except UserError as error:
                tally.damaged.append(str(error))
        return tally

    def next_number(self, epoch: int) -> int:
        """The number no episode of the epoch has had."""
        taken = [episode_number(file) for file in self.folder(epoch).raw.glob("episode_*")]
        return max(taken, default=-1) + 1

    def begin(
        self, epoch: int, spec: RobotSpec, policy_id: str, *, simulated: bool, waits: bool = False
    ) -> StationEpisodeWriter:
        """Begin the next episode.

        Args:
            epoch: which it belongs to.
            spec: the robot.
            policy_id: the policy that acts.
            simulated: whether the robot is.
            waits: whether the robot's time stands still while the disk is waited for.

        Raises:
            UserError: the disk is full or the place cannot be written.
        """
        return StationEpisodeWriter(
            self.folder(epoch).episode(self.next_number(epoch), self._data.station),
            spec,
            self._task.description,
            policy_id,
            epoch,
            sim=simulated,
            jpeg_quality=self._data.jpeg_quality,
            waits=waits,
        )
