"""The episodes of the data set that is being marked, and what is known of each without looking at its frames."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.robot import Float32
from hitl_ops.labels.episode_ids import episode_ids
from hitl_ops.labels.station_verdicts import episode_key
from hitl_ops.records.lerobot_layout import ACTION, ENVIRONMENT, IMAGES, INFO_PATH, STATE, numpy_column
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder, open_lerobot
from ui_collect.station.recordings import Curve, Curves

_POINTS = 240
_MAKING = "1"
"""In every stamp: raised when films are made otherwise, so that older ones are not shown."""


@dataclass(frozen=True)
class MarkedEpisode:
    """One episode of the data set.

    Attributes:
        key: short name of its id, as in targets and addresses.
        episode_id: what its labels go by.
        index: its number in the data set.
        length: frames.
        fps: frames a second.
        cameras: their names, in the data set's order.
        entry: what the data set says of it.
    """

    key: str
    episode_id: str
    index: int
    length: int
    fps: int
    cameras: tuple[str, ...]
    entry: EpisodeEntry

    def film(self, camera: int) -> tuple[Path, float]:
        """The file with a camera's pictures, and the second at which the episode begins in it.

        Raises:
            IndexError: there is no such camera.
        """
        path, start, _ = self.entry.videos[f"{IMAGES}{self.cameras[camera]}"]
        return path, start

    def stamp(self, camera: int) -> str:
        """Changes with the film's source; names what is made of it.

        Raises:
            IndexError: there is no such camera.
            FileNotFoundError: the file is gone.
        """
        path, start = self.film(camera)
        facts = path.stat()
        said = f"{_MAKING} {path.resolve()} {facts.st_mtime_ns} {facts.st_size} {start!r} {self.length} {self.fps}"
        return hashlib.sha256(said.encode()).hexdigest()[:32]


class Episodes:
    """The data set, read anew when another stands in its place. Calls block; from any thread.

    Args:
        dataset: the data set's folder.

    Raises:
        UserError: it is no data set, or corrupt.
    """

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset
        self._lock = threading.Lock()
        self._stamp = self._now()
        self._folder, self._by_key = _read(dataset)

    @property
    def name(self) -> str:
        """What people call the data set."""
        return self._dataset.resolve().name

    @property
    def fps(self) -> int:
        """Frames a second."""
        return self._folder.info.fps

    def all(self) -> dict[str, MarkedEpisode]:
        """Every episode by key, in the data set's order.

        Raises:
            UserError: what stands there now is no data set.
        """
        with self._lock:
            if (now := self._now()) != self._stamp:
                self._folder, self._by_key = _read(self._dataset)
                self._stamp = now
            return self._by_key

    def one(self, key: str) -> MarkedEpisode | None:
        """An episode by its key; None where there is none."""
        return self.all().get(key)

    def _now(self) -> tuple[int, int, int] | None:
        try:
            facts = (self._dataset / INFO_PATH).stat()
        except OSError:
            return None  # reading it says what is wrong
        return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _read(dataset: Path) -> tuple[LeRobotFolder, dict[str, MarkedEpisode]]:
    folder = open_lerobot(dataset)
    found: dict[str, MarkedEpisode] = {}
    for entry, episode_id in episode_ids(folder):
        entry.stats = {}
        cameras = tuple(key.removeprefix(IMAGES) for key in folder.info.video_keys if key in entry.videos)
        key = episode_key(episode_id)
        # Two that are the same recording are marked once.
        found.setdefault(
            key, MarkedEpisode(key, episode_id, entry.index, entry.length, folder.info.fps, cameras, entry)
        )
    if not found:
        raise UserError(f"data set '{dataset}' has no episodes", "record some")
    return folder, found


def read_curves(episode: MarkedEpisode) -> Curves:
    """How joints and a simulated world's state went over an episode; only its rows are read.

    Raises:
        UserError: the file is corrupt, or was taken away.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = episode.entry.data
    try:
        schema = pq.read_schema(file)
        names = [name for name in (STATE, ACTION, ENVIRONMENT) if name in schema.names]
        table = pq.read_table(file, columns=names, filters=[("episode_index", "=", episode.index)], use_threads=False)
        columns: dict[str, Float32] = {name: numpy_column(table.column(name)) for name in names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"'{file}' is corrupt ({' '.join(str(error).split())})", "convert it again") from None
    if table.num_rows != episode.length:
        raise UserError(f"'{file}' has {table.num_rows} rows of episode {episode.index}", "convert it again")
    rows = np.unique(np.linspace(0, episode.length - 1, _POINTS).astype(int))
    thin = {name: values[rows].reshape(len(rows), -1).T for name, values in columns.items()}
    told = thin.get(ACTION)
    state = thin.get(STATE, np.zeros((0, len(rows))))
    alike = told is not None and len(told) == len(state)
    return Curves(
        seconds=episode.length / episode.fps,
        joints=[
            Curve(
                name=f"joint {number}",
                values=_plain(values),
                told=_plain(told[number]) if alike and told is not None else None,
            )
            for number, values in enumerate(state)
        ],
        environment=[
            Curve(name=f"environment {number}", values=_plain(values))
            for number, values in enumerate(thin.get(ENVIRONMENT, []))
        ],
    )


def _plain(values: Float32) -> list[float]:
    return [round(float(value), 4) for value in values]
