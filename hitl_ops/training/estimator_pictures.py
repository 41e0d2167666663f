"""Pictures for the training of an estimator: from a file of shrunken ones, or decoded when they are looked at."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.records.video_stream import VideoStream
from hitl_ops.training.estimator_data import EstimatorFrames, Slot

FOLDER = "pictures"
PICTURES_FILE, FACTS_FILE = "pictures.npy", "pictures.json"
_POLL_S = 0.2


class PictureSource(Protocol):
    """Gives the pictures of frames of an episode."""

    def pictures(self, episode: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Pictures of an episode's frames.

        Args:
            episode: its place in the data set.
            rows: the frames' places in it, [n], ascending.

        Returns:
            [n, cameras, size, size, 3] uint8 RGB.
        """


class KeptPictures:
    """Pictures of all frames in one file, which the system reads as they are needed and forgets when it has to.

    Args:
        file: from :func:`keep_pictures`.
        frames: the data set's.
    """

    def __init__(self, file: Path, frames: EstimatorFrames) -> None:
        self._file, self._starts = file, [episode.start for episode in frames.episodes]
        self._all: npt.NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_all": None}  # another process opens the file itself

    def pictures(self, episode: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """See :class:`PictureSource`."""
        if self._all is None:
            self._all = np.load(self._file, mmap_mode="r")
        found: npt.NDArray[np.uint8] = self._all[self._starts[episode] + rows]
        return found


class DecodedPictures:
    """Pictures decoded anew whenever they are looked at.

    Args:
        frames: the data set's.
        size: rows and columns that pictures are shrunk to.
    """

    def __init__(self, frames: EstimatorFrames, size: int) -> None:
        self._frames, self._size = frames, size

    def pictures(self, episode: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """See :class:`PictureSource`."""
        clip = self._frames.episodes[episode].clip
        clips = [replace(clip, first=row, last=row + 1) for row in rows.tolist()]
        size = (self._size, self._size)
        with VideoStream(clips, self._frames.cameras, size, self._frames.fps, chunk=1) as stream:
            found = [np.stack([camera[0] for camera in one.cameras]) for one in stream]
        return np.stack(found)


def keep_pictures(frames: EstimatorFrames, size: int, out: Path, progress: Progress, *, makes: bool) -> Path:
    """Decode every video once, from front to back, into a file of shrunken pictures; one that is there is kept.

    Args:
        frames: the data set's.
        size: rows and columns that pictures are shrunk to.
        out: folder of the training.
        progress: told after each episode.
        makes: whether this process makes the file; another one waits until it is there.

    Returns:
        The file, [frames, cameras, size, size, 3] uint8.

    Raises:
        UserError: a video is missing or corrupt, or does not have exactly one frame a row, or the disk is full.
    """
    folder = out / FOLDER / frames.pictures_hash[:16]
    told = {"dataset": str(frames.root), "hash": frames.pictures_hash, "cameras": list(frames.cameras), "size": size}
    while not _is_there(folder, told):
        if not makes:
            time.sleep(_POLL_S)
            continue
        with publishing(folder) as temporary:
            temporary.mkdir()
            shape = (len(frames), len(frames.cameras), size, size, 3)
            with (temporary / PICTURES_FILE).open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(file, header)
                # Written, not mapped: what is mapped and written counts as this process's memory until it is on disk.
                for pictures in _decoded(frames, size, progress):
                    file.write(pictures.data)
            publish_json(temporary / FACTS_FILE, told)
    return folder / PICTURES_FILE


def _is_there(folder: Path, told: dict[str, Any]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        if (folder / PICTURES_FILE).is_file():
            found: bool = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8")) == told
            return found
    return False


def _decoded(frames: EstimatorFrames, size: int, progress: Progress) -> Iterator[npt.NDArray[np.uint8]]:
    """All pictures in the frames' order, [n, cameras, size, size, 3] at a time."""
    clips = (episode.clip for episode in frames.episodes)
    done = 0
    with VideoStream(clips, frames.cameras, (size, size), frames.fps) as stream:
        for part in stream:
            yield np.ascontiguousarray(np.stack(part.cameras, axis=1))
            done += len(part)
            progress(done, len(frames), "pictures")
    if done != len(frames):
        raise UserError(f"the videos of '{frames.root}' have {done} frames, not {len(frames)}", "convert it again")


def looked_at(source: PictureSource, slot: Slot) -> npt.NDArray[np.uint8]:
    """The pictures of a slot, moved and made lighter or darker as it says: [n, cameras, size, size, 3] uint8."""
    pictures = source.pictures(slot.episode, slot.rows)
    down, across, light = slot.look
    if down or across:
        size = pictures.shape[2]
        # What comes in at an edge repeats the edge.
        pictures = pictures[:, :, np.clip(np.arange(size) - down, 0, size - 1)]
        pictures = pictures[:, :, :, np.clip(np.arange(size) - across, 0, size - 1)]
    if light != 1.0:
        pictures = np.clip(np.arange(256) * light + 0.5, 0, 255).astype(np.uint8)[pictures]
    return pictures
