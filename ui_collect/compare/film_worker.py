"""The process that films clips: of each a film as browsers play it, and a sheet of its moments.

Run by the web server as ``python -m ui_collect.compare.film_worker``; one after another, at a low priority.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.preference import CLIP_ID
from hitl_ops.contracts.store import Store
from ui_collect.background_films import Outcome
from ui_collect.film_process import kept_film, run_film_process
from ui_collect.station.video_cache import VideoCache

FilmClip = Callable[[Path, str, Path, Path, Path], None]
"""Films a clip: the set's folder, the clip, where the film and its sheet go, the store's root."""


class MakeClip(BaseModel):
    """Film a clip, unless its film is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: Literal["clip"] = "clip"
    stamp: str = Field(pattern="^[0-9a-f]{32}$")
    clip_set: str
    clip_id: str = Field(pattern=CLIP_ID)
    root: str


def sheets_beside(cache: VideoCache, root: Path) -> VideoCache:
    """The cache of the sheets that belong to the films of a cache."""
    return VideoCache.of(Store.at(root), "sheets", cache.most_bytes // 2**20)


def make_clip(asked: MakeClip, cache: VideoCache, film_clip: FilmClip) -> tuple[Outcome, str]:
    """Make a clip's film and sheet and keep them.

    Returns:
        What became of it, and why.
    """
    root = Path(asked.root)
    sheets = sheets_beside(cache, root)

    def write(file: Path) -> None:
        sheet = sheets.file(asked.stamp)
        for place in (file, sheet):
            place.parent.mkdir(parents=True, exist_ok=True)
        film_clip(Path(asked.clip_set), asked.clip_id, file, sheet, root)
        sheets.trim(spared=asked.stamp)

    if not sheets.holds(asked.stamp):
        cache.file(asked.stamp).unlink(missing_ok=True)
    return kept_film(cache, asked.stamp, write)


def run_clip_films(film_clip: FilmClip, arguments: Sequence[str] | None = None) -> int:
    """Film clips until the web server says stop or goes away.

    Args:
        film_clip: how one is filmed.
        arguments: the command line, by default the process's.
    """

    def make(asked: MakeClip, cache: VideoCache) -> tuple[Outcome, str]:
        """Film clips for the compare page."""
        return make_clip(asked, cache, film_clip)

    return run_film_process(arguments, MakeClip, make, lambda asked: asked.stamp)


def main(arguments: Sequence[str] | None = None) -> int:
    """Film clips until the web server says stop or goes away."""
    from hitl_ops.evaluation.clip_films import film_clip

    return run_clip_films(film_clip, arguments)


if __name__ == "__main__":
    sys.exit(main())
