"""A camera's pictures of one episode as a video file, with their statistics taken on the way.

JPEG goes to the encoder without a detour over RGB. Decoding and encoding run outside Python's lock, so several
episodes are encoded in parallel by threads.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.records.encoder_priority import give_up_real_time
from hitl_ops.records.lerobot_stats import (
    Stats,
    picture_stats,
    plain_stats,
    sampled_frames,
    shrunk,
    stats_from_plain,
)
from hitl_ops.records.pictures import decode_jpeg


class VideoSettings(StrictConfig):
    """How videos are encoded."""

    codec: Literal["h264", "libsvtav1"] = Field(
        default="h264",
        description="h264 encodes several times faster; libsvtav1 is LeRobot's default and makes smaller files.",
    )
    preset: str = Field(default="ultrafast", description="The codec's own word for fast or small; libsvtav1: 0 to 13.")
    crf: int = Field(default=23, ge=0, le=63, description="Lower is better and larger.")
    gop: int = Field(default=2, ge=1, le=1000, description="Frames from one key frame to the next; 2 seeks fastest.")
    threads: int = Field(default=1, ge=0, le=64, description="Threads of one encoder; 0 leaves it to the codec.")

    def options(self) -> dict[str, str]:
        """As the codec is told."""
        told = {"g": str(self.gop), "crf": str(self.crf), "preset": self.preset}
        if self.codec == "libsvtav1":
            lanes = f":lp={self.threads}" if self.threads else ""
            return {**told, "svtav1-params": f"fast-decode=0{lanes}"}
        return {**told, **({"threads": str(self.threads)} if self.threads else {})}

    @property
    def digest(self) -> str:
        """Short name of everything the encoded bytes depend on."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


_OPENING = 3
"""Frames within which an encoder has started its threads: the first opens it."""
LEROBOT_DEFAULT = VideoSettings(codec="libsvtav1", preset="12", crf=30, gop=2, threads=0)
"""What LeRobot 0.6 encodes with where nothing is set; data sets merge only where codecs agree."""


@dataclass(frozen=True, slots=True)
class EncodedVideo:
    """One camera of one episode.

    Attributes:
        path: the mp4 file.
        frames: how many it has.
        stats: of its pictures, over values from 0 to 1.
    """

    path: Path
    frames: int
    stats: Stats


def encode_video(
    pictures: Iterable[npt.NDArray[np.uint8]], frames: int, path: Path, fps: int, settings: VideoSettings, source: str
) -> EncodedVideo:
    """Encode one camera's pictures and publish the file, its statistics beside it as ``.json``.

    Args:
        pictures: JPEG as [n] uint8, or [height, width, 3] RGB; one is in memory at a time.
        frames: how many there are.
        path: the mp4 file to make.
        fps: frames a second.
        settings: of the codec.
        source: where the pictures come from, named in errors.

    Raises:
        UserError: a picture cannot be decoded or has another size than the first, or the codec refuses.
    """
    import av

    sampled = set(sampled_frames(frames))
    looked_at: list[npt.NDArray[np.uint8]] = []
    with publishing(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4") as output:
                stream = output.add_stream(settings.codec, rate=fps, options=settings.options())
                stream.pix_fmt = "yuv420p"
                stream.time_base = Fraction(1, fps)
                number = -1
                for number, (frame, picture) in enumerate(_decoded(pictures, sampled, source)):
                    if number == 0:
                        stream.width, stream.height = frame.width, frame.height
                    elif (frame.width, frame.height) != (stream.width, stream.height):
                        raise UserError(
                            f"{source}, frame {number} is {frame.width}×{frame.height} pixels",
                            f"the first was {stream.width}×{stream.height}; record it again",
                        )
                    if picture is not None:
                        looked_at.append(shrunk(picture).copy())
                    frame.pts, frame.time_base = number, Fraction(1, fps)
                    output.mux(stream.encode(frame))
                    if number < _OPENING:
                        give_up_real_time()
                output.mux(stream.encode())
                give_up_real_time()
        except av.FFmpegError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror) from None
            raise UserError(
                f"{source} cannot be encoded with {settings.codec} ({error})", "choose other settings"
            ) from None
        if number + 1 != frames:
            raise UserError(f"{source} has {number + 1} pictures for {frames} frames", "record it again")
    stats = picture_stats(looked_at, len(looked_at))
    publish_json(_beside(path), {"frames": frames, "stats": plain_stats({"video": stats})["video"]})
    return EncodedVideo(path, frames, stats)


def find_encoded(path: Path) -> EncodedVideo | None:
    """A video that was encoded before, with its statistics; None where it is not whole."""
    try:
        said = json.loads(_beside(path).read_text(encoding="utf-8"))
        if not path.is_file():
            return None
        return EncodedVideo(path, int(said["frames"]), stats_from_plain({"video": said["stats"]})["video"])
    except (OSError, ValueError, KeyError):
        return None


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _decoded(
    pictures: Iterable[npt.NDArray[np.uint8]], sampled: set[int], source: str
) -> Iterator[tuple[Any, npt.NDArray[np.uint8] | None]]:
    """Frames for the encoder, each with its RGB picture where statistics want it."""
    import av

    decoder: Any = None
    for number, picture in enumerate(pictures):
        if picture.ndim == 3:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            yield frame.reformat(format="yuv420p"), picture if number in sampled else None
            continue
        if decoder is None:
            decoder = av.CodecContext.create("mjpeg", "r")
        try:
            found = decoder.decode(av.Packet(picture.tobytes()))
        except av.FFmpegError:
            found = []
        if len(found) != 1:
            raise UserError(f"{source}, frame {number} is no JPEG", "leave the episode out")
        # JPEG uses the full range of values, video the narrow one.
        frame = found[0].reformat(format="yuv420p", dst_color_range="MPEG")
        rgb = decode_jpeg(picture, f"{source}, frame {number}") if number in sampled else None
        yield frame, rgb


def video_info(path: Path, settings: VideoSettings | None = None) -> dict[str, Any]:
    """What ``info.json`` says of a camera's videos, in LeRobot's words.

    Args:
        path: one of the videos.
        settings: how it was encoded, where that is known.

    Raises:
        UserError: the file is no video.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            said: dict[str, Any] = {
                "video.height": stream.height,
                "video.width": stream.width,
                "video.codec": stream.codec.canonical_name,
                "video.pix_fmt": stream.pix_fmt,
                "video.fps": int(stream.base_rate),
                "video.channels": 3,
                "has_audio": bool(container.streams.audio),
            }
    except (av.FFmpegError, IndexError, OSError) as error:
        raise UserError(f"'{path}' is no video ({error})", "encode it again") from None
    if settings is not None:
        preset: int | str = int(settings.preset) if settings.preset.isdigit() else settings.preset
        said |= {"video.g": settings.gop, "video.crf": settings.crf, "video.preset": preset, "video.fast_decode": 0}
        said |= {"video.video_backend": "pyav", "video.extra_options": {}}
    return {**said, "is_depth_map": False}
