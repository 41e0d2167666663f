"""Recording an episode at a station: frames are safe within the second, and an episode that was finished stays so.

NumPy, h5py and Pillow only: the client at the robot uses it.
"""

from __future__ import annotations

import contextlib
import glob
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, disk_errors_named, publish_bytes, publishing
from hitl_ops.contracts.robot import Float32, Picture, RobotSpec, check_picture
from hitl_ops.records.log_flusher import process_flusher
from hitl_ops.records.pictures import encode_jpeg
from hitl_ops.records.station_hdf5 import EPISODE_SUFFIX, StationFacts, Verdict, read_station_facts, write_station_hdf5
from hitl_ops.records.station_journal import (
    JOURNAL_SUFFIX,
    Frame,
    end_record,
    frame_record,
    head_of_journal,
    lock_journal,
    read_frames,
    scan_journal,
)

BACKLOG_SECONDS = 4.0
"""So far may encoding and the disk fall behind before the recording gives up."""
_WAIT_S = 0.002


class StationEpisodeWriter:
    """Records one episode: ``add`` for every control step, then ``finish`` or ``abort``.

    ``add`` never waits: a thread of the writer's own encodes pictures and writes, and within a quarter of a second
    another syncs. Until the episode is over it
    lies in ``<path>.part``, which :func:`repair_unfinished` turns into an episode if the process is killed.

    Where the disk is full or too slow, ``add`` raises; what was taken in is kept, and ``abort`` saves it once there
    is room.

    Args:
        path: the episode's file, ``….hdf5``; folders are made as needed.
        spec: the robot: its joints, cameras and frequency.
        task: in natural language, without an advantage.
        policy_id: the policy that acts.
        iteration: the turn of the loop.
        sim: whether the robot is simulated.
        jpeg_quality: of the pictures, 1 to 95.
        episode_id: never given twice; made up where it is not given.
        waits: whether ``add`` waits for the disk where it falls behind: for a robot whose time stands still meanwhile.

    Raises:
        UserError: the episode or its journal exists already, or the place cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        spec: RobotSpec,
        task: str,
        policy_id: str,
        iteration: int,
        *,
        sim: bool = False,
        jpeg_quality: int = 90,
        episode_id: str | None = None,
        waits: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix != EPISODE_SUFFIX:
            raise UserError(f"episode '{self.path}' cannot be recorded", f"name it *{EPISODE_SUFFIX}")
        self.journal = journal_of(self.path)
        for taken in (self.path, self.journal):
            if taken.exists():
                raise UserError(f"'{taken}' exists already", "choose another name; repair what a kill has left first")
        self.spec = spec
        self.facts = StationFacts(
            episode_id=episode_id or uuid.uuid4().hex,
            task=task,
            fps=spec.frequency_hz,
            robot=spec.name,
            joint_names=spec.joint_names,
            environment_state_names=spec.environment_state_names,
            policy_id=policy_id,
            iteration=iteration,
            sim=sim,
            started=time.time(),
        )
        self._quality = jpeg_quality
        self._waits = waits
        head = head_of_journal({"facts": self.facts.model_dump(), "cameras": _sizes(spec)})
        publish_bytes(self.journal, head)
        descriptor = lock_journal(self.journal)
        if descriptor is None:
            raise UserError(f"'{self.journal}' is being written by another process", "stop it first")
        self._descriptor = descriptor
        self._written = len(head)
        self._taken, self._kept, self._durable = 0, 0, 0
        self._backlog: deque[tuple[float, bool, Float32, tuple[Picture, ...]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._error: UserError | None = None
        self._last_timestamp = -np.inf
        self._syncing = threading.Lock()
        self._sync_wanted = False
        self._flusher = process_flusher()
        if spec.cameras:
            # Loaded now: the first frame is not to wait for it.
            encode_jpeg(np.zeros((8, 8, 3), np.uint8))
        self._thread = threading.Thread(target=self._work, name="station recorder", daemon=True)
        self._thread.start()

    @property
    def frames(self) -> int:
        """Frames taken in."""
        return self._taken

    @property
    def durable_frames(self) -> int:
        """Frames that survive a power cut."""
        return self._durable

    @property
    def error(self) -> UserError | None:
        """Why frames cannot be kept at the moment; None while all is well."""
        return self._error

    def add(
        self,
        qpos: npt.ArrayLike,
        qvel: npt.ArrayLike,
        effort: npt.ArrayLike,
        action: npt.ArrayLike,
        images: Mapping[str, Picture],
        timestamp: float,
        intervention: bool = False,
        *,
        environment_state: npt.ArrayLike | None = None,
    ) -> None:
        """Take in a frame; never waits for the disk, unless it was told to.

        Args:
            qpos: joint positions before the action, [joints].
            qvel: joint velocities, [joints].
            effort: what the motors give, [joints].
            action: absolute joint targets, [joints].
            images: camera → [height, width, 3] uint8 RGB; not to be written to afterwards.
            timestamp: seconds since the episode began, growing from frame to frame.
            intervention: whether a person has the robot in hand.
            environment_state: what a simulated world tells; needed where the spec names it.

        Raises:
            UserError: a vector or a picture has not the robot's form or is not finite, a camera is missing, time goes
                backwards, or what was taken in earlier cannot be kept. The frame is not taken in.
        """
        if self._error is not None:
            raise self._error
        dim, extra = self.spec.dim, len(self.spec.environment_state_names)
        vectors = [
            _vector(name, value, dim)
            for name, value in (("qpos", qpos), ("qvel", qvel), ("effort", effort), ("action", action))
        ]
        if extra:
            vectors.append(_vector("environment_state", environment_state, extra))
        if not timestamp > self._last_timestamp:
            raise UserError(
                f"timestamp {timestamp} of frame {self._taken} is not after {self._last_timestamp}", "check the clock"
            )
        pictures = tuple(check_picture(images.get(camera.name), camera) for camera in self.spec.cameras)
        while self._waits and len(self._backlog) > self.spec.frequency_hz and self._error is None:
            time.sleep(_WAIT_S)
        with self._changed:
            if self._closing:
                raise ValueError(f"the recording of '{self.path}' is over")
            if len(self._backlog) > BACKLOG_SECONDS * self.spec.frequency_hz:
                self._error = UserError(
                    f"the recording of '{self.path}' falls behind",
                    "use a faster disk, smaller pictures or fewer cameras",
                )
                raise self._error
            self._backlog.append((float(timestamp), bool(intervention), np.concatenate(vectors), pictures))
            self._taken += 1
            self._last_timestamp = float(timestamp)
            self._changed.notify()

    def finish(self, label: Verdict | None, *, success: bool | None = None) -> Path:
        """End the episode and publish it as HDF5.

        Args:
            label: the person's verdict; None where it is given later.
            success: the simulator's truth, where it is known.

        Returns:
            The file.

        Raises:
            UserError: no frame was recorded, or the disk is full; in the latter case everything, the verdict included
                where it could still be noted, stays in the journal, and the same call may be made again.
        """
        advantage = None if label is None else label == "good"
        path = self._end({"status": "complete", "reason": "", "advantage": advantage, "success": success})
        if path is None:
            raise UserError(f"no frame of '{self.path.name}' was recorded", "check that the policy answers")
        return path

    def abort(self, reason: str, *, success: bool | None = None) -> Path | None:
        """End the episode as aborted and publish what there is of it.

        Returns:
            The file; None where no frame had been recorded.

        Raises:
            UserError: the disk is full; everything stays in the journal, and the same call may be made again.
        """
        return self._end({"status": "aborted", "reason": reason, "advantage": None, "success": success})

    def _end(self, end: dict[str, Any]) -> Path | None:
        if self._descriptor < 0:
            raise ValueError(f"the recording of '{self.path}' is over")
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        # What the thread could not write is tried once more here, now that somebody waits for it.
        while self._backlog:
            self._keep(self._backlog[0])
            self._backlog.popleft()
        # Once the end is noted, a kill can no longer take the verdict away.
        self._append(end_record(end))
        if not self.flush() and self._error is not None:
            raise self._error
        path = _publish(self.journal, self.path)
        with self._syncing:
            os.close(self._descriptor)
            self._descriptor = -1
        return path

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._backlog and not self._closing:
                    self._changed.wait()
                if not self._backlog:
                    return
                frame = self._backlog[0]
            try:
                self._keep(frame)
            except UserError as error:
                self._error = error
                return
            self._backlog.popleft()
            if not self._sync_wanted:
                self._sync_wanted = True
                self._flusher.want(self, urgent=False)

    def flush(self) -> bool:
        """Make what was written survive a power cut; waits for the disk. ``error`` says why not."""
        with self._syncing:
            if self._descriptor < 0:
                return True
            self._sync_wanted = False
            kept = self._kept
            try:
                with _errors_named(self.journal):
                    os.fdatasync(self._descriptor)
            except UserError as error:
                self._error = error
                return False
            self._durable = kept
            return True

    def _keep(self, frame: tuple[float, bool, Float32, tuple[Picture, ...]]) -> None:
        timestamp, intervention, numbers, pictures = frame
        encoded = tuple(encode_jpeg(picture, self._quality) for picture in pictures)
        self._append(frame_record(Frame(timestamp, intervention, numbers, encoded)))
        self._kept += 1

    def _append(self, content: bytes) -> None:
        """Write a whole record or nothing."""
        view, at = memoryview(content), self._written
        try:
            with _errors_named(self.journal):
                while view:
                    count = os.pwrite(self._descriptor, view, at)
                    view, at = view[count:], at + count
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._written)
            raise
        self._written = at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            self.abort(f"{kind.__name__}: {error}" if kind is not None else "left without an end")


@dataclass(frozen=True, slots=True)
class RepairedEpisode:
    """What became of an unfinished recording.

    Attributes:
        journal: what the kill had left.
        path: the episode it is now; None where it held no frame.
        frames: how many it has.
        facts: with the status: ``aborted``, or ``complete`` where its end had been noted already.
    """

    journal: Path
    path: Path | None
    frames: int
    facts: StationFacts


def repair_unfinished(folder: str | Path) -> list[RepairedEpisode]:
    """Publish what killed recordings have left in a folder and below it, cut to whole frames.

    Finished episodes are never touched, nor recordings another process is writing.

    Raises:
        UserError: a journal is damaged at its very beginning, or the disk is full; others may be repaired by then.
    """
    repaired = []
    for journal in sorted(Path(folder).rglob(f"*{EPISODE_SUFFIX}{JOURNAL_SUFFIX}")):
        descriptor = lock_journal(journal)
        if descriptor is None:
            continue
        try:
            content = scan_journal(journal)
            facts = StationFacts.model_validate(content.header["facts"])
            target = journal.with_name(journal.name.removesuffix(JOURNAL_SUFFIX))
            if target.exists() and read_station_facts(target).episode_id != facts.episode_id:
                target = target.with_stem(f"{target.stem}-{facts.episode_id[:8]}")
            path = _publish(journal, target)
            ended = _ended(facts, content.end)
            repaired.append(RepairedEpisode(journal, path, len(content.offsets), ended))
        finally:
            os.close(descriptor)
    return repaired


def journal_of(path: Path) -> Path:
    """Where an episode lies while it is being recorded."""
    return path.with_name(path.name + JOURNAL_SUFFIX)


def _ended(facts: StationFacts, end: dict[str, Any] | None) -> StationFacts:
    return facts.model_copy(update=end or {"status": "aborted", "reason": "the recording was interrupted"})


def _publish(journal: Path, path: Path) -> Path | None:
    """Turn a journal into an episode and remove it; an episode that stands there already is this very one."""
    content = scan_journal(journal)
    facts = _ended(StationFacts.model_validate(content.header["facts"]), content.end)
    if content.offsets and not path.exists():
        for leftover in path.parent.glob(f"{glob.escape(path.name)}{TEMPORARY_MARK}*"):
            leftover.unlink(missing_ok=True)
        cameras = {name: (height, width) for name, (height, width) in content.header["cameras"].items()}
        dim, extra = len(facts.joint_names), len(facts.environment_state_names)
        size = 4 * dim + extra
        with _errors_named(path), publishing(path) as temporary:
            frames = list(_without_pictures(journal, content.offsets, size))
            table = np.stack([frame.numbers for frame in frames])
            numbers: dict[str, npt.NDArray[Any]] = {
                "observations/qpos": table[:, :dim],
                "observations/qvel": table[:, dim : 2 * dim],
                "observations/effort": table[:, 2 * dim : 3 * dim],
                "action": table[:, 3 * dim : 4 * dim],
                "timestamp": np.array([frame.timestamp for frame in frames]),
                "intervention": np.array([frame.intervention for frame in frames]),
            }
            if extra:
                numbers["observations/environment_state"] = table[:, 4 * dim :]
            pictures = (frame.pictures for frame in read_frames(journal, content.offsets, size, len(cameras)))
            write_station_hdf5(temporary, facts, numbers, cameras, pictures, journal.stat().st_size if cameras else 0)
    journal.unlink()
    return path if content.offsets else None


def _without_pictures(journal: Path, offsets: list[int], size: int) -> list[Frame]:
    return [
        frame._replace(numbers=frame.numbers.copy(), pictures=()) for frame in read_frames(journal, offsets, size, 0)
    ]


@contextlib.contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Every error of the disk as one line: a robot is held for any of them."""
    try:
        with disk_errors_named(path):
            yield
    except OSError as error:
        raise CannotWrite(f"'{path}' cannot be written ({error.strerror or error})", "see to the disk") from None


def _sizes(spec: RobotSpec) -> dict[str, tuple[int, int]]:
    return {camera.name: (camera.height, camera.width) for camera in spec.cameras}


def _vector(name: str, value: npt.ArrayLike | None, size: int) -> Float32:
    array = np.asarray(value, np.float32) if value is not None else np.empty(0, np.float32)
    if array.shape != (size,):
        raise UserError(f"'{name}' of a frame has shape {array.shape}, not ({size},)", "check the robot's adapter")
    if not np.isfinite(array).all():
        raise UserError(f"'{name}' of a frame is not finite", "check the robot's sensors")
    return array
