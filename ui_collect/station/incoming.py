"""Episodes that come in from stations, piece by piece: what was answered is on disk, a whole file is checked first."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.station_epoch import (
    EPISODE_NAME,
    NAME,
    SHA256,
    EpochFolder,
    EpochManifest,
    missing_of,
    publish_manifest,
    sha256_of,
)
from hitl_ops.records.station_hdf5 import read_station_episode

UPLOAD_MARK = ".upload-"
EPISODE_BYTES = 4 * 2**30
"""Largest episode accepted."""
_FORGOTTEN_AFTER_S = 14 * 24 * 3600
_LOCKS = 64
_HASHES = 4096


class UploadRefused(UserError):
    """What was sent cannot be kept; sending the same again changes nothing."""


class NameTaken(UploadRefused):
    """Another file of this name is there."""


class OutOfStep(UserError):
    """A piece does not begin where the file ends so far.

    Args:
        have: where it ends.
    """

    def __init__(self, have: int) -> None:
        self.have = have
        super().__init__("the piece does not follow", f"send from byte {have}")


@dataclass(frozen=True, slots=True)
class Coming:
    """A file on its way.

    Attributes:
        folder: the epoch it belongs to.
        name: its name there.
        sha256: hash it must have.
        bytes: length it must have.
    """

    folder: EpochFolder
    name: str
    sha256: str
    bytes: int

    @property
    def target(self) -> Path:
        """Where it will be."""
        return self.folder.raw / self.name

    @property
    def partial(self) -> Path:
        """Where its pieces are until then."""
        return self.target.with_name(f"{self.name}{UPLOAD_MARK}{self.sha256[:16]}")


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far a file has come.

    Attributes:
        have: bytes that are safe.
        complete: whether it is whole, checked and in its place.
    """

    have: int
    complete: bool


def readable_episode(file: Path) -> None:
    """Refuse what is no episode.

    Raises:
        UserError: it cannot be read.
    """
    read_station_episode(file)


class IncomingEpisodes:
    """Where stations' episodes come in: ``<base>/<task>/epoch_<n>/raw/``.

    Args:
        base: the folder of all of them.
        check: refuses a file that is no episode.
        largest_bytes: of an episode.
    """

    def __init__(
        self, base: Path, *, check: Callable[[Path], None] = readable_episode, largest_bytes: int = EPISODE_BYTES
    ) -> None:
        self.base = base
        self._check = check
        self._largest = largest_bytes
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._hashes: dict[tuple[str, int, int], str] = {}

    def coming(self, task: str, epoch: int, name: str, sha256: str, size: int) -> Coming:
        """A file as a station announces it.

        Raises:
            UploadRefused: a name leads elsewhere, or it is too large.
        """
        if not (re.fullmatch(NAME, task) and re.fullmatch(EPISODE_NAME, name) and re.fullmatch(SHA256, sha256)):
            raise UploadRefused("this is no address of an episode", "check task.name and data.station")
        if not 1 <= size <= self._largest:
            raise UploadRefused(f"an episode of {size} bytes is not accepted", f"at most {self._largest}")
        return Coming(EpochFolder(self.base, task, epoch), name, sha256, size)

    def state(self, coming: Coming) -> UploadState:
        """How far a file has come.

        Raises:
            NameTaken: another file of this name is there.
        """
        with self._lock(coming):
            return self._state(coming)

    def put(self, coming: Coming, offset: int, content: bytes) -> UploadState:
        """Take in a piece; it is on disk when this returns. The last one completes the file.

        Raises:
            OutOfStep: it begins elsewhere than the file ends.
            NameTaken: another file of this name is there.
            UploadRefused: it is longer than announced, or the whole is not what was announced, or no episode.
            CannotWrite: the disk is full.
        """
        with self._lock(coming):
            state = self._state(coming)
            if state.complete:
                return state
            if offset != state.have:
                raise OutOfStep(state.have)
            if offset + len(content) > coming.bytes:
                raise UploadRefused("more came than was announced", "send the file as it is")
            partial = coming.partial
            with disk_errors_named(coming.target):
                partial.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("ab") as file:
                    try:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    except OSError:
                        os.ftruncate(file.fileno(), offset)
                        raise
            if offset + len(content) < coming.bytes:
                return UploadState(offset + len(content), False)
            return self._complete(coming)

    def finish(self, manifest: EpochManifest) -> Path:
        """Check every file of an epoch and note that it is complete; doing it again is harmless.

        Returns:
            The manifest's file.

        Raises:
            UploadRefused: files are missing or differ.
            CannotWrite: the disk is full.
        """
        folder = EpochFolder(self.base, manifest.task, manifest.epoch)
        missing = missing_of(folder, manifest)
        if missing:
            raise UploadRefused(f"{len(missing)} of {len(manifest.episodes)} episodes are missing", missing[0])
        return publish_manifest(folder, manifest)

    def sweep(self) -> int:
        """Remove pieces nobody has added to for two weeks; returns how many files."""
        before = time.time() - _FORGOTTEN_AFTER_S
        old = [file for file in self.base.glob(f"*/epoch_*/raw/*{UPLOAD_MARK}*") if file.stat().st_mtime < before]
        for file in old:
            file.unlink(missing_ok=True)
        return len(old)

    def _lock(self, coming: Coming) -> threading.Lock:
        return self._locks[hash(coming.target) % _LOCKS]

    def _state(self, coming: Coming) -> UploadState:
        partial = coming.partial
        if coming.target.is_file():
            if self._hash(coming.target) != coming.sha256:
                raise NameTaken(
                    f"another {coming.name} of epoch {coming.folder.epoch} is there already",
                    "give each station a name of its own (data.station)",
                )
            partial.unlink(missing_ok=True)
            return UploadState(coming.bytes, True)
        have = partial.stat().st_size if partial.is_file() else 0
        if have < coming.bytes:
            return UploadState(have, False)
        # A kill came between the last piece and the check.
        return self._complete(coming)

    def _complete(self, coming: Coming) -> UploadState:
        partial = coming.partial
        try:
            if sha256_of(partial) != coming.sha256:
                raise UploadRefused("the checksum differs", "it is sent again from the start")
            self._check(partial)
        except UserError as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, UploadRefused):
                raise
            raise UploadRefused(f"{coming.name} is no episode", "repair it at the station, or move it away") from None
        with disk_errors_named(coming.target):
            os.link(partial, coming.target)  # never over another file
            partial.unlink()
            descriptor = os.open(coming.target.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return UploadState(coming.bytes, True)

    def _hash(self, file: Path) -> str:
        stat = file.stat()
        key = (str(file), stat.st_mtime_ns, stat.st_size)
        if key not in self._hashes:
            while len(self._hashes) >= _HASHES:
                del self._hashes[next(iter(self._hashes))]
            self._hashes[key] = sha256_of(file)
        return self._hashes[key]
