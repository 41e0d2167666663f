"""Films of clips in no time: every frame shows which frame of which clip it is. The server under test runs this where
otherwise worlds are filmed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.publish import publish_bytes
from hitl_ops.records.clips import open_clip_set
from hitl_ops.records.film_writing import write_film
from hitl_ops.records.pictures import encode_jpeg
from tests.support.filmed_sets import picture
from ui_collect.compare.film_worker import run_clip_films


def shown(clip: str, frame: int) -> int:
    """The number that a frame of a clip shows; clips are named ``…-<number>``."""
    return int(clip.rsplit("-", 1)[1]) * 512 + frame


def painted(number: int) -> npt.NDArray[np.uint8]:
    """A picture twice as wide as high, with a number in it."""
    return np.kron(picture(number)[::6, ::6], np.ones((20, 40, 1), np.uint8))


def paint_clip(clip_set: Path, clip_id: str, video: Path, poster: Path, root: Path) -> None:
    """See :func:`hitl_ops.evaluation.clip_films.film_clip`."""
    clip = open_clip_set(clip_set).clip(clip_id)
    pictures = [painted(shown(clip_id, frame)) for frame in range(clip.facts.steps)]
    publish_bytes(poster, encode_jpeg(pictures[-1], 80))
    write_film(pictures, clip.facts.fps, video, f"clip '{clip_id}'")


if __name__ == "__main__":
    sys.exit(run_clip_films(paint_clip))
