"""The pictures of a data set's episodes in the order of their rows, decoded ahead of whoever looks at them.

Every camera has a thread that decodes its files from front to back, so that each is opened once and nothing is decoded
twice, whether a file holds one episode (LeRobot 2.1) or hundreds (3.0). FFmpeg shrinks each frame where it was decoded;
what waits to be looked at is bounded, however long episodes are. Python's lock is not held meanwhile.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError

CHUNK_FRAMES = 32
CHUNKS_AHEAD = 3
_NEAR = 0.25
"""How far from a row's moment its frame may be, as a share of the time between two frames."""
_SKIPPED_S = 2.0
"""What lies between two episodes of a file and is decoded for nothing rather than sought past."""
_REMEDY = "convert the data set again, or leave the episode out"


@dataclass(frozen=True, slots=True)
class Clip:
    """What is to be seen of an episode.

    Attributes:
        episode: its number.
        moments: seconds since the episode began, of every row, [T] float64.
        videos: camera → file, seconds where the episode begins in it, seconds where it ends.
        first: the first row whose picture is wanted.
        last: the row after the last one; all where None.
    """

    episode: int
    moments: npt.NDArray[np.float64]
    videos: Mapping[str, tuple[Path, float, float]]
    first: int = 0
    last: int | None = None

    @property
    def stop(self) -> int:
        """The row after the last one whose picture is wanted."""
        return len(self.moments) if self.last is None else self.last


@dataclass(frozen=True, slots=True)
class Pictures:
    """Consecutive frames of one episode.

    Attributes:
        episode: its number.
        first: row of the first of them.
        cameras: [n, height, width, 3] uint8 RGB of each camera, in the order asked for.
    """

    episode: int
    first: int
    cameras: tuple[npt.NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.cameras[0])


@dataclass(slots=True)
class StreamFigures:
    """What a stream has cost so far.

    Attributes:
        frames: pictures handed out, every camera's counted.
        decode_s: processor seconds of the threads that decode; threads FFmpeg starts by itself come on top.
        waited_s: seconds in which whoever looks had to wait for pictures.
        held: pictures in memory now.
        most_held: the most there were at once.
    """

    frames: int = 0
    decode_s: float = 0.0
    waited_s: float = 0.0
    held: int = 0
    most_held: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, pictures: int) -> None:
        """Count pictures that are now in memory."""
        with self._lock:
            self.held += pictures
            self.most_held = max(self.most_held, self.held)

    def drop(self, pictures: int) -> None:
        """Count pictures that are looked at and gone."""
        with self._lock:
            self.held -= pictures
            self.frames += pictures

    def decoded(self, seconds: float) -> None:
        """Count what decoding took."""
        with self._lock:
            self.decode_s += seconds


class VideoStream:
    """Decodes clips ahead and hands out their pictures; used as a context, which takes its threads down.

    Args:
        clips: what is to be seen, in the order in which it stands in the files; taken one by one as they are needed.
        cameras: the cameras' names, as the data set has them.
        size: rows and columns of the pictures that come out; as they are in the file where None.
        fps: frames a second of the data set.
        chunk: frames handed out at once, at most; a chunk holds frames of one episode.
        ahead: chunks of each camera that may wait.
        threads: that decode; 0: one a core. Where there are more than cameras, FFmpeg decodes with several each.
        figures: where what it costs is counted; its own where None.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        cameras: Sequence[str],
        size: tuple[int, int] | None,
        fps: float,
        *,
        chunk: int = CHUNK_FRAMES,
        ahead: int = CHUNKS_AHEAD,
        threads: int = 0,
        figures: StreamFigures | None = None,
    ) -> None:
        count = threads or os.cpu_count() or 1
        self.figures = figures or StreamFigures()
        self._plan = _Plan(clips)
        self._stopped = threading.Event()
        at_once = threading.Semaphore(count)
        codec_threads = max(1, count // max(1, len(cameras)))
        self._tracks = [
            _Track(name, size, fps, codec_threads, chunk, ahead, self._plan, at_once, self._stopped, self.figures)
            for name in cameras
        ]

    def __enter__(self) -> Self:
        for track in self._tracks:
            track.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for track in self._tracks:
            track.slots.release()
        for track in self._tracks:
            track.join()

    def __iter__(self) -> Iterator[Pictures]:
        """The pictures, clip by clip, chunk by chunk; the memory of one is counted until the next is asked for.

        Raises:
            UserError: a video is missing or corrupt, or does not have exactly one frame a row; the message names file,
                episode and frame.
        """
        while True:
            waited = time.perf_counter()
            told = [track.out.get() for track in self._tracks]
            self.figures.waited_s += time.perf_counter() - waited
            parts = []
            for one in told:
                if isinstance(one, BaseException):
                    raise one
                if one is not None:
                    parts.append(one)
            del told
            if not parts:
                return
            place = parts[0]
            self._plan.forget(place.number)
            count = sum(len(part.pictures) for part in parts)
            try:
                yield Pictures(place.episode, place.first, tuple(part.pictures for part in parts))
            finally:
                del parts, place, one
                self.figures.drop(count)
                for track in self._tracks:
                    track.slots.release()


class _Plan:
    """Clips by number; they are made when the first camera comes to them and forgotten when all have passed."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._clips = iter(clips)
        self._known: dict[int, Clip | None] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def clip(self, number: int) -> Clip | None:
        """A clip; None behind the last."""
        with self._lock:
            while number >= self._next:
                if self._error is not None:
                    raise self._error
                try:
                    self._known[self._next] = next(self._clips, None)
                except BaseException as error:
                    self._error = error
                    raise
                self._next += 1
            return self._known[number]

    def forget(self, number: int) -> None:
        """Drop the clips before one that is being handed out."""
        with self._lock:
            for past in [known for known in self._known if known < number]:
                del self._known[past]


@dataclass(slots=True)
class _Part:
    """Frames of one camera."""

    number: int
    episode: int
    first: int
    pictures: npt.NDArray[np.uint8]


class _Track(threading.Thread):
    """Decodes one camera, clip after clip."""

    def __init__(
        self,
        camera: str,
        size: tuple[int, int] | None,
        fps: float,
        codec_threads: int,
        chunk: int,
        ahead: int,
        plan: _Plan,
        at_once: threading.Semaphore,
        stopped: threading.Event,
        figures: StreamFigures,
    ) -> None:
        super().__init__(name=f"decode {camera}", daemon=True)
        self.out: queue.SimpleQueue[_Part | BaseException | None] = queue.SimpleQueue()
        # A slot is taken before a chunk is decoded and given back when it has been looked at.
        self.slots = threading.Semaphore(ahead + 1)
        self._file = _VideoFile(camera, size, fps, codec_threads)
        self._chunk, self._plan, self._at_once = chunk, plan, at_once
        self._stopped, self._figures = stopped, figures

    def run(self) -> None:
        try:
            number = 0
            while (clip := self._plan.clip(number)) is not None:
                for first in range(clip.first, clip.stop, self._chunk):
                    self.slots.acquire()
                    if self._stopped.is_set():
                        return
                    with self._at_once:
                        began = time.thread_time()
                        pictures = self._file.read(clip, first, min(first + self._chunk, clip.stop), self._figures)
                        self._figures.decoded(time.thread_time() - began)
                    self.out.put(_Part(number, clip.episode, first, pictures))
                    del pictures
                number += 1
            self.out.put(None)
        except BaseException as error:  # whoever looks is told
            self.out.put(error)
        finally:
            self._file.close()


class _VideoFile:
    """The file a camera is being read from, and where in it."""

    def __init__(self, camera: str, size: tuple[int, int] | None, fps: float, codec_threads: int) -> None:
        self._camera, self._size, self._fps, self._threads = camera, size, fps, codec_threads
        self._path: Path | None = None
        self._container: Any = None
        self._stream: Any = None
        self._frames: Iterator[Any] = iter(())
        self._waiting: Any = None
        self._shrink: Any = None

    def close(self) -> None:
        """Close it; closing twice is harmless."""
        if self._container is not None:
            self._container.close()
        self._container = self._stream = self._waiting = self._path = None
        self._frames = iter(())

    def read(self, clip: Clip, first: int, last: int, figures: StreamFigures) -> npt.NDArray[np.uint8]:
        """Rows of a clip, [last - first, height, width, 3] uint8 RGB.

        Raises:
            UserError: the file is missing or corrupt, or its frames are not those of the rows.
        """
        if self._camera not in clip.videos:
            known = ", ".join(sorted(clip.videos)) or "none"
            raise UserError(f"episode {clip.episode} has no camera '{self._camera}'", f"it has {known}")
        path, start, stop = clip.videos[self._camera]
        near = _NEAR / self._fps
        if path != self._path or first == clip.first:
            with _errors_named(path, clip.episode, first):
                self._go_to(path, start + float(clip.moments[first]), near)
        pictures: npt.NDArray[np.uint8] | None = None
        for row in range(first, last):
            wanted = start + float(clip.moments[row])
            with _errors_named(path, clip.episode, row):
                frame = self._next()
                while frame is not None and row == clip.first and frame.time < wanted - near:
                    frame = self._next()
                if frame is None or abs(frame.time - wanted) > near:
                    there = "it ends before" if frame is None else f"the next one there is at {frame.time:.4f} s"
                    raise UserError(
                        f"video '{path}' has no frame {row} of episode {clip.episode}, at {wanted:.4f} s ({there})",
                        _REMEDY,
                    )
                if frame.is_corrupt:
                    raise UserError(f"video '{path}': frame {row} of episode {clip.episode} is corrupt", _REMEDY)
                height, width = self._size or (frame.height, frame.width)
                plane = self._shrink.reformat(frame, width, height, "rgb24").planes[0]
            if pictures is None:
                pictures = np.empty((last - first, height, width, 3), np.uint8)
                figures.take(len(pictures))
            # FFmpeg may leave room behind a row.
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : 3 * width]
            pictures[row - first].reshape(height, 3 * width)[...] = rows
        assert pictures is not None
        if last == len(clip.moments):
            with _errors_named(path, clip.episode, last):
                self._waiting = self._next()
            if self._waiting is not None and self._waiting.time < stop - near:
                raise UserError(
                    f"video '{path}' has a frame {last} of episode {clip.episode}, which has {last} rows", _REMEDY
                )
        return pictures

    def _next(self) -> Any:
        """The next frame; None behind the last."""
        frame, self._waiting = self._waiting, None
        return next(self._frames, None) if frame is None else frame

    def _go_to(self, path: Path, moment: float, near: float) -> None:
        """Have the next frame be the one at a moment, or one before it that it depends on."""
        import av
        from av.video.reformatter import VideoReformatter

        if path != self._path:
            self.close()
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise UserError(f"'{path}' holds no video", _REMEDY)
            self._stream = self._container.streams.video[0]
            self._stream.codec_context.thread_count = self._threads
            self._stream.thread_type = "AUTO" if self._threads > 1 else "NONE"
            self._shrink = VideoReformatter()
            self._path, self._waiting = path, None
            self._frames = self._container.decode(self._stream)
            if moment < _SKIPPED_S:
                return
        elif self._waiting is not None and -near <= moment - self._waiting.time < _SKIPPED_S:
            return
        self._container.seek(int(moment / self._stream.time_base), stream=self._stream)
        self._waiting, self._frames = None, self._container.decode(self._stream)


class _errors_named:  # reads like a function where it is used
    """What FFmpeg says of a file becomes one line that names file, episode and frame."""

    def __init__(self, path: Path, episode: int, row: int) -> None:
        self._path, self._episode, self._row = path, episode, row

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        import av

        if not isinstance(error, av.FFmpegError | OSError):
            return
        what = f"video '{self._path}'"
        if isinstance(error, FileNotFoundError):
            raise UserError(f"{what} of episode {self._episode} is missing (frame {self._row})", _REMEDY) from None
        said = " ".join(str(error).split())
        raise UserError(
            f"{what} cannot be decoded at frame {self._row} of episode {self._episode} ({said})", _REMEDY
        ) from None
