"""The process that makes videos of stations' episodes: their cameras side by side, as browsers play them.

Run by the web server as ``python -m ui_collect.station.video_worker``; one after another, at a low priority.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_bytes
from hitl_ops.records.pictures import decode_jpeg, encode_jpeg
from hitl_ops.records.station_hdf5 import opened_hdf5, read_pictures, read_station_facts
from hitl_ops.records.video_encoding import VideoSettings, encode_video
from ui_collect.background_films import Outcome
from ui_collect.film_process import kept_film, run_film_process
from ui_collect.station.video_cache import VideoCache

_RATE = 25
"""Frames a second at most: an eye sees no more, and half of a station's 50 are encoded in half the time."""
_TILE_HEIGHT, _POSTER_WIDTH = 360, 240
_IN_A_ROW = 3
# A key frame every half second: the page may be told to go anywhere.
_SETTINGS = VideoSettings(codec="h264", preset="veryfast", crf=25, gop=12)
Picture = npt.NDArray[np.uint8]


class MakeVideo(BaseModel):
    """Make what an episode's cache lacks, unless it is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["make"] = "make"
    stamp: str = Field(pattern="^[0-9a-f]{32}$")
    path: str


def make_video(asked: MakeVideo, cache: VideoCache) -> tuple[Outcome, str]:
    """Make a recording's video or small picture, as the cache is for, and keep it.

    Returns:
        What became of it, and why.
    """
    recording = Path(asked.path)

    def write(file: Path) -> None:
        if cache.made == "poster":
            publish_bytes(file, _poster(recording))
        else:
            _encode(recording, file)

    return kept_film(cache, asked.stamp, write)


def _encode(recording: Path, file: Path) -> None:
    cameras, frames = _cameras(recording)
    fps = read_station_facts(recording).fps
    step = max(1, round(fps / _RATE))
    pictures = side_by_side([read_pictures(recording, camera) for camera in cameras], step, str(recording))
    file.parent.mkdir(parents=True, exist_ok=True)
    encode_video(pictures, len(range(0, frames, step)), file, max(1, round(fps / step)), _SETTINGS, str(recording))


def _poster(recording: Path) -> bytes:
    cameras, frames = _cameras(recording)
    with opened_hdf5(recording) as hdf5:
        seen = hdf5[f"observations/images/{cameras[0]}"][frames // 2]
    picture = _rgb(np.asarray(seen), str(recording))
    height = max(2, round(picture.shape[0] * _POSTER_WIDTH / picture.shape[1]))
    return encode_jpeg(_resized(picture, height, _POSTER_WIDTH), 80)


def _cameras(recording: Path) -> tuple[list[str], int]:
    with opened_hdf5(recording) as hdf5:
        cameras = sorted(hdf5["observations/images"]) if "observations/images" in hdf5 else []
        frames = len(hdf5["action"])
    if not cameras:
        raise UserError(f"episode '{recording}' has no camera", "look at its joints")
    return cameras, frames


def side_by_side(cameras: Sequence[Iterator[Picture]], step: int, source: str) -> Iterator[Picture]:
    """Every ``step``-th moment as one picture: the cameras in rows of up to three, all equally high.

    Args:
        cameras: of each its pictures, JPEG or [height, width, 3].
        step: which moments are taken.
        source: where they come from, named in errors.
    """
    for number, seen in enumerate(zip(*cameras, strict=True)):
        if number % step:
            continue
        pictures = [_rgb(one, f"{source}, frame {number}") for one in seen]
        height = min(_TILE_HEIGHT, max(one.shape[0] for one in pictures)) // 2 * 2
        tiles = [
            _resized(one, height, max(2, round(one.shape[1] * height / one.shape[0]) // 2 * 2)) for one in pictures
        ]
        rows = _rows(tiles)
        width = max(row.shape[1] for row in rows)
        yield np.concatenate([_widened(row, width) for row in rows], axis=0)


def _rows(tiles: list[Picture]) -> list[Picture]:
    """The tiles in as few rows as they fit in, each about as long as the others."""
    count = -(-len(tiles) // _IN_A_ROW)
    each = -(-len(tiles) // count)
    return [np.concatenate(tiles[start : start + each], axis=1) for start in range(0, len(tiles), each)]


def _even(pixels: float) -> int:
    return max(2, round(pixels) // 2 * 2)


def _widened(row: Picture, width: int) -> Picture:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)))


def _rgb(picture: Picture, source: str) -> Picture:
    return picture if picture.ndim == 3 else decode_jpeg(picture, source)


def _resized(picture: Picture, height: int, width: int) -> Picture:
    from PIL import Image

    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make videos until the web server says stop or goes away."""
    return run_film_process(arguments, MakeVideo, make_video, lambda asked: asked.stamp)


if __name__ == "__main__":
    sys.exit(main())
