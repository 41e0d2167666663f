"""Sending an epoch: what every way does, and the thread it is done in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder, EpochManifest, make_manifest
from robot_client.station_config import DataSection

Say = Callable[[str], None]


class SyncFailed(UserError):
    """Not everything has arrived; the same again goes on where it stopped."""


class SyncStopped(SyncFailed):
    """Whoever is at the station left meanwhile."""


class Sync(Protocol):
    """A way to the server."""

    def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: Callable[[], bool]) -> None:
        """Send what the server has not got yet, have all of it verified there, and the manifest noted last.

        Args:
            folder: the epoch.
            manifest: what is to arrive.
            say: told how it goes, in words.
            stopped: whether to give up; looked at now and then.

        Raises:
            SyncFailed: not everything has arrived and is verified.
        """


class StayHere:
    """No sync at all: the recordings lie where they are wanted already."""

    def send(self, folder: EpochFolder, manifest: EpochManifest, say: Say, stopped: Callable[[], bool]) -> None:
        """See :class:`Sync`."""
        say(f"{len(manifest.episodes)} episodes stay in {folder.raw}")


def make_sync(data: DataSection) -> Sync:
    """The way the configuration names."""
    if data.upload.enabled:
        from robot_client.sync.http_upload import HttpUpload

        return HttpUpload(data.upload)
    if data.rsync.enabled:
        from robot_client.sync.rsync import Rsync

        return Rsync(data.rsync)
    return StayHere()


class Sending:
    """An epoch on its way, in a thread of its own.

    Args:
        sync: the way.
        folder: the epoch.
        station: whose episodes.
    """

    def __init__(self, sync: Sync, folder: EpochFolder, station: str) -> None:
        self.words = "making the manifest"
        """How it goes."""
        self.error: UserError | None = None
        """Why it failed; None while it goes on, and after it has succeeded."""
        self.manifest: EpochManifest | None = None
        """What has arrived, once all of it has."""
        self._sync, self._folder, self._station = sync, folder, station
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="sync", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has succeeded or failed."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Give up soon; what has arrived stays."""
        self._stopped = True

    def join(self, seconds: float) -> None:
        """Wait for the thread, but no longer."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            manifest = make_manifest(self._folder, self._station)
            self._sync.send(self._folder, manifest, self._say, lambda: self._stopped)
            self.manifest = manifest
        except UserError as error:
            self.error = error
        except OSError as error:
            self.error = SyncFailed(f"'{self._folder.raw}' cannot be read ({error.strerror})", "see to the disk")

    def _say(self, words: str) -> None:
        self.words = words
