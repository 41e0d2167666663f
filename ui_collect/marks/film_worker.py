"""The process that cuts episodes out of a data set's videos, every frame of one camera, as browsers play them.

Run by the web server as ``python -m ui_collect.marks.film_worker``. A data set's file may hold many episodes, in a
codec that not every browser knows, and with key frames far apart; what is cut begins with the episode, and may be
entered at any frame.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.video_encoding import VideoSettings, encode_video
from ui_collect.background_films import Outcome
from ui_collect.film_process import kept_film, run_film_process
from ui_collect.station.video_cache import VideoCache

_HEIGHT = 480
_REMEDY = "convert the data set again"
# No picture waits for a later one, and a key frame is never far: a step in either direction shows at once.
_SETTINGS = VideoSettings(codec="h264", preset="ultrafast", crf=22, gop=8)


class CutEpisode(BaseModel):
    """Cut an episode out of a camera's video, unless that is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["cut"] = "cut"
    stamp: str = Field(pattern="^[0-9a-f]{32}$")
    path: str
    start: float = Field(ge=0, description="seconds into the file where the episode begins")
    frames: int = Field(ge=1)
    fps: int = Field(ge=1)


def cut_episode(asked: CutEpisode, cache: VideoCache) -> tuple[Outcome, str]:
    """Make an episode's film and keep it.

    Returns:
        What became of it, and why.
    """

    def write(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        encode_video(
            episode_pictures(Path(asked.path), asked.start, asked.frames, asked.fps),
            asked.frames, file, asked.fps, _SETTINGS, asked.path,
        )  # fmt: skip

    return kept_film(cache, asked.stamp, write)


def episode_pictures(path: Path, start: float, frames: int, fps: int) -> Iterator[npt.NDArray[np.uint8]]:
    """An episode's pictures, [height, width, 3] RGB, at most 480 rows high, with even sides; one at a time.

    Args:
        path: the video.
        start: seconds into it where the episode begins.
        frames: how many there are.
        fps: frames a second.

    Raises:
        UserError: it is no video, or ends before the episode does.
    """
    import av

    given = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            container.seek(int(start / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                # Half a frame early at most: what stands before is the end of another episode.
                if frame.time is None or frame.time < start - 0.5 / fps:
                    continue
                yield _shrunk(frame)
                given += 1
                if given == frames:
                    return
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f"'{path}' is no video ({error})", _REMEDY) from None
    raise UserError(f"'{path}' ends at frame {given} of the episode's {frames}", _REMEDY)


def _shrunk(frame: Any) -> npt.NDArray[np.uint8]:
    height = min(_HEIGHT, frame.height) // 2 * 2
    width = max(2, round(frame.width * height / frame.height / 2) * 2)
    picture: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24", width=width, height=height)
    return picture


def main(arguments: Sequence[str] | None = None) -> int:
    """Cut episodes until the web server says stop or goes away."""
    return run_film_process(arguments, CutEpisode, cut_episode, lambda asked: asked.stamp)


if __name__ == "__main__":
    sys.exit(main())
