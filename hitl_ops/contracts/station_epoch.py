"""What a station collected in one epoch: where its files lie, and the list that says the epoch is complete.

The layout is the same at the station and on the server: ``<base>/<task>/epoch_<n>/raw/episode_<k>.hdf5``, and beside
``raw`` the manifest, which comes last: once it is there, everything it names is there too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""Names of tasks and stations: they become parts of paths."""
EPISODE_NAME = r"^episode_\d{1,7}(-[A-Za-z0-9][A-Za-z0-9_-]{0,63})?\.hdf5$"
SHA256 = r"^[0-9a-f]{64}$"
RAW = "raw"
MANIFEST_GLOB = "synced*.json"
SEEDS_PER_EPOCH = 100_003
"""How far apart the scenes of a simulated station's epochs begin."""
_BLOCK = 2**20
_NUMBER = re.compile(r"^episode_(\d+)")


class CollectedEpisode(StrictConfig):
    """One file of the manifest."""

    name: str = Field(pattern=EPISODE_NAME, description="File name in the epoch's raw folder.")
    bytes: int = Field(ge=1, description="Its length.")
    sha256: str = Field(pattern=SHA256, description="Hash of its content.")


class EpochManifest(StrictConfig):
    """All episodes a station collected in one epoch; its being there says that the epoch is complete."""

    task: str = Field(pattern=NAME, description="Name of the task.")
    epoch: int = Field(ge=0, le=999_999, description="Number of the epoch.")
    station: str = Field(default="", pattern=rf"^$|{NAME}", description="Which station; empty where there is but one.")
    episodes: tuple[CollectedEpisode, ...] = Field(min_length=1, description="Its episodes, in order.")

    @property
    def file_name(self) -> str:
        """The manifest's own name; several stations have one each."""
        return manifest_name(self.station)


@dataclass(frozen=True)
class EpochFolder:
    """The folder of one epoch, at the station or on the server.

    Args:
        base: the station's save folder, or where the server keeps what comes in.
        task: name of the task.
        epoch: number of the epoch.
    """

    base: Path
    task: str
    epoch: int

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.base / self.task / f"epoch_{self.epoch}"

    @property
    def raw(self) -> Path:
        """Where the episodes lie."""
        return self.path / RAW

    def episode(self, number: int, station: str = "") -> Path:
        """Where an episode of this number is kept."""
        return self.raw / f"episode_{number}{f'-{station}' if station else ''}.hdf5"

    def manifest(self, station: str = "") -> Path:
        """Where the manifest is kept."""
        return self.path / manifest_name(station)

    def finished(self, station: str = "") -> bool:
        """Whether the station has finished this epoch."""
        return self.manifest(station).is_file()

    def manifests(self) -> list[EpochManifest]:
        """Every station's manifest, by name.

        Raises:
            UserError: one cannot be read.
        """
        return [read_manifest(file) for file in sorted(self.path.glob(MANIFEST_GLOB))]


def manifest_name(station: str) -> str:
    """``synced.json``, or ``synced-<station>.json`` where stations have names."""
    return f"synced{f'-{station}' if station else ''}.json"


def epoch_folders(base: Path, task: str) -> Iterator[EpochFolder]:
    """The epochs of a task that have a folder, by number."""
    numbers = (
        match for folder in (base / task).glob("epoch_*") if (match := re.fullmatch(r"epoch_(\d+)", folder.name))
    )
    for number in sorted(int(match[1]) for match in numbers):
        yield EpochFolder(base, task, number)


def episode_number(file: Path) -> int:
    """The number in an episode's name; -1 where it has none."""
    match = _NUMBER.match(file.name)
    return int(match[1]) if match else -1


def episode_files(folder: EpochFolder, station: str = "") -> list[Path]:
    """The finished episodes of a station in an epoch, by number."""
    wanted = re.compile(EPISODE_NAME)
    ending = f"-{station}.hdf5" if station else ".hdf5"
    files = [
        file
        for file in folder.raw.glob("episode_*.hdf5")
        if wanted.match(file.name) and file.name.endswith(ending) and (station or "-" not in file.stem)
    ]
    return sorted(files, key=episode_number)


def sha256_of(file: Path) -> str:
    """Hash of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def make_manifest(folder: EpochFolder, station: str = "") -> EpochManifest:
    """The manifest of all finished episodes.

    Raises:
        UserError: there is none.
    """
    episodes = tuple(
        CollectedEpisode(name=file.name, bytes=file.stat().st_size, sha256=sha256_of(file))
        for file in episode_files(folder, station)
    )
    if not episodes:
        raise UserError(f"'{folder.raw}' holds no finished episode", "collect at least one before finishing the epoch")
    return EpochManifest(task=folder.task, epoch=folder.epoch, station=station, episodes=episodes)


def missing_of(folder: EpochFolder, manifest: EpochManifest) -> list[str]:
    """Names in the manifest whose file is not there, or not as the manifest says."""
    return [
        episode.name
        for episode in manifest.episodes
        if not (file := folder.raw / episode.name).is_file()
        or file.stat().st_size != episode.bytes
        or sha256_of(file) != episode.sha256
    ]


def publish_manifest(folder: EpochFolder, manifest: EpochManifest) -> Path:
    """Write the manifest into its epoch's folder; returns where it lies.

    Raises:
        CannotWrite: the disk is full or the place cannot be written.
    """
    file = folder.manifest(manifest.station)
    publish_json(file, manifest)
    return file


def read_manifest(file: Path) -> EpochManifest:
    """Read a manifest.

    Raises:
        UserError: it is missing or no manifest.
    """
    try:
        return EpochManifest.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"manifest '{file}' does not exist", "let the station finish its epoch") from None
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise UserError(
            f"manifest '{file}' is damaged ({reason})", "delete it and let the station sync again"
        ) from None
