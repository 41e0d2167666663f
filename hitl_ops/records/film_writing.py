"""A short film for people to look at: pictures as they are drawn, in the form that every browser plays at once."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publishing

_FINEST = 1000
"""Frames a second are told to the encoder as a fraction with no larger denominator."""
_OPTIONS = {"crf": "22", "preset": "veryfast", "g": "12", "bf": "0"}
"""A key frame every dozen and none that waits for a later one: a film that loops begins anew without a halt."""


def write_film(pictures: Iterable[npt.NDArray[np.uint8]], fps: float, path: Path, source: str) -> int:
    """Encode pictures as H.264 in mp4, what a player must know first at its front, and publish the file.

    Args:
        pictures: [height, width, 3] uint8 RGB, all of one size with even sides; one is in memory at a time.
        fps: frames a second.
        path: the mp4 file to make.
        source: where the pictures come from, named in errors.

    Returns:
        How many frames it has.

    Raises:
        UserError: there is no picture, or one has another size than the first.
        CannotWrite: the disk is full or the place cannot be written.
    """
    import av

    rate = Fraction(fps).limit_denominator(_FINEST)
    frames = 0
    with publishing(path) as temporary:
        try:
            # PyAV guesses the format from the name, and a temporary one says nothing.
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
                stream: Any = container.add_stream("libx264", rate=rate, options=_OPTIONS)
                stream.pix_fmt, stream.thread_count = "yuv420p", 1
                for picture in pictures:
                    height, width = picture.shape[:2]
                    if not frames:
                        stream.height, stream.width = height, width
                    elif (height, width) != (stream.height, stream.width):
                        raise UserError(
                            f"{source}, frame {frames} is {width}×{height} pixels",
                            f"the first was {stream.width}×{stream.height}; record it again",
                        )
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                    container.mux(stream.encode(frame))
                    frames += 1
                if not frames:
                    raise UserError(f"{source} has no picture", "leave it out")
                container.mux(stream.encode())
        except av.FFmpegError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror) from None
            raise UserError(f"{source} cannot be encoded ({error})", "leave it out") from None
    return frames
