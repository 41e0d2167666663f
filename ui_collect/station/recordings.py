"""What came in from stations: every recording there is, and what is known of each without looking at its frames."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EPISODE_NAME, NAME, RAW, episode_number
from hitl_ops.labels.station_verdicts import episode_key
from hitl_ops.records.station_hdf5 import StationFacts, opened_hdf5, read_station_episode, read_station_facts

logger = logging.getLogger(__name__)

_EPISODE = re.compile(EPISODE_NAME)
_TASK = re.compile(NAME)
_EPOCH = re.compile(r"epoch_(\d{1,6})")
_POINTS = 240
_MAKING = "1"
"""In every stamp: raised when videos are made otherwise, so that older ones are not shown."""


@dataclass(frozen=True)
class Recording:
    """One episode of a station.

    Attributes:
        key: short name of its id, as in targets and addresses.
        path: the file.
        folder: name of the task's folder.
        epoch: number of the epoch it was collected in.
        number: its number there.
        facts: the file's attributes.
        frames: how many.
        cameras: their names.
        stamp: changes with the file; names what is made of it.
    """

    key: str
    path: Path
    folder: str
    epoch: int
    number: int
    facts: StationFacts
    frames: int
    cameras: tuple[str, ...]
    stamp: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.facts.fps


class Curve(BaseModel):
    """How one number went over an episode."""

    name: str
    values: list[float]
    told: list[float] | None = None
    """What the joint was told, where it is one."""


class Curves(BaseModel):
    """What there is to see of an episode without a camera, thinned out evenly."""

    seconds: float
    joints: list[Curve]
    environment: list[Curve]
    value: Curve | None = None
    """How much of the task an estimator finds done, where one has looked at it."""


class Recordings:
    """The recordings below a folder, read when they are new. Calls block; from any thread.

    Args:
        base: where episodes come in, ``<base>/<task>/epoch_<n>/raw/episode_<k>.hdf5``.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[str, Recording | None]] = {}
        self._by_key: dict[str, Recording] = {}

    def all(self) -> dict[str, Recording]:
        """Every recording by key, in the order of tasks, epochs and numbers; a second copy of one is left out."""
        with self._lock:
            found: dict[str, Recording] = {}
            read: dict[Path, tuple[str, Recording | None]] = {}
            for path in sorted(self._base.glob(f"*/epoch_*/{RAW}/episode_*.hdf5"), key=_order):
                stamp = _stamp(path)
                if stamp is None:
                    continue
                known = self._read.get(path)
                recording = known[1] if known is not None and known[0] == stamp else _recording(path, stamp)
                read[path] = stamp, recording
                if recording is not None:
                    found.setdefault(recording.key, recording)
            self._read, self._by_key = read, found
            return found

    def one(self, key: str) -> Recording | None:
        """A recording by its key; None where there is none."""
        known = self._by_key.get(key)
        if known is not None and _stamp(known.path) == known.stamp:
            return known
        return self.all().get(key)


def read_curves(recording: Recording) -> Curves:
    """How joints and a simulated world's state went over an episode.

    Raises:
        UserError: the file is corrupt, or was taken away.
    """
    episode = read_station_episode(recording.path)
    rows = np.unique(np.linspace(0, episode.frames - 1, _POINTS).astype(int))
    joints = episode.facts.joint_names or tuple(f"joint {n}" for n in range(episode.qpos.shape[1]))
    environment: list[Curve] = []
    if episode.environment_state is not None:
        width = episode.environment_state.shape[1]
        names = episode.facts.environment_state_names or tuple(f"environment {n}" for n in range(width))
        environment = [
            Curve(name=name, values=_plain(column))
            for name, column in zip(names, episode.environment_state[rows].T, strict=False)
        ]
    return Curves(
        seconds=recording.seconds,
        joints=[
            Curve(name=name, values=_plain(seen), told=_plain(told))
            for name, seen, told in zip(joints, episode.qpos[rows].T, episode.action[rows].T, strict=False)
        ],
        environment=environment,
    )


def _plain(values: npt.NDArray[np.float32]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _order(path: Path) -> tuple[str, int, int, str]:
    match = _EPOCH.fullmatch(path.parents[1].name)
    return path.parents[2].name, int(match[1]) if match else -1, episode_number(path), path.name


def _stamp(path: Path) -> str | None:
    """Names a file as it is now; None where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    told = f"{path} {status.st_mtime_ns} {status.st_size} {_MAKING}"
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _recording(path: Path, stamp: str) -> Recording | None:
    """What is known of a file; None where it is no episode of an epoch, or cannot be read."""
    task, epoch = path.parents[2].name, _EPOCH.fullmatch(path.parents[1].name)
    if epoch is None or not _TASK.fullmatch(task) or not _EPISODE.fullmatch(path.name):
        return None
    try:
        facts = read_station_facts(path)
        with opened_hdf5(path) as hdf5:
            frames = len(hdf5["action"])
            cameras = tuple(sorted(hdf5["observations/images"])) if "observations/images" in hdf5 else ()
    except (UserError, KeyError) as error:
        logger.warning("'%s' is left out: %s", path, error)
        return None
    return Recording(
        key=episode_key(facts.episode_id),
        path=path,
        folder=task,
        epoch=int(epoch[1]),
        number=episode_number(path),
        facts=facts,
        frames=frames,
        cameras=cameras,
        stamp=stamp,
    )
