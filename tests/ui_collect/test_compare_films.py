"""Films of clips for the compare page: made of real worlds, with their sheets, and named where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image

from hitl_ops.contracts.errors import CannotWrite
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.clip_films import film_clip
from hitl_ops.records.clips import CLIPS_FILE
from tests.support.clip_sets import make_clip_set
from tests.support.painted_clips import paint_clip
from ui_collect.compare.film_worker import MakeClip, make_clip, sheets_beside
from ui_collect.station.video_cache import VideoCache

STAMP = "0" * 32


@pytest.fixture
def asked(tmp_path: Path) -> MakeClip:
    clip_set = make_clip_set(tmp_path / "set", 2, 1, steps=6)
    return MakeClip(stamp=STAMP, clip_set=str(clip_set.root), clip_id="clip-0001", root=str(tmp_path))


@pytest.fixture
def cache(tmp_path: Path) -> VideoCache:
    return VideoCache.of(Store.at(tmp_path), "clips", 8)


@pytest.mark.slow
def test_an_arm_is_filmed_with_a_sheet_of_its_moments(asked: MakeClip, cache: VideoCache, tmp_path: Path) -> None:
    assert make_clip(asked, cache, film_clip) == ("made", "")
    with av.open(str(cache.file(STAMP))) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 6 and frames[0].std() > 10, "something is to be seen"
    with Image.open(sheets_beside(cache, tmp_path).file(STAMP)) as sheet:
        assert sheet.format == "JPEG" and sheet.width > 600


def test_what_is_there_is_not_made_again_unless_one_of_the_two_is_gone(
    asked: MakeClip, cache: VideoCache, tmp_path: Path
) -> None:
    sheet = sheets_beside(cache, tmp_path).file(STAMP)
    assert make_clip(asked, cache, paint_clip) == ("made", "")
    first = cache.file(STAMP).stat().st_ino
    assert make_clip(asked, cache, paint_clip) == ("made", "") and cache.file(STAMP).stat().st_ino == first
    sheet.unlink()
    assert make_clip(asked, cache, paint_clip) == ("made", "") and sheet.exists()
    cache.file(STAMP).unlink()
    assert make_clip(asked, cache, paint_clip) == ("made", "") and cache.file(STAMP).exists()


def test_what_cannot_be_filmed_is_named_and_leaves_nothing(asked: MakeClip, cache: VideoCache, tmp_path: Path) -> None:
    file = Path(asked.clip_set) / CLIPS_FILE
    said = json.loads(file.read_text())
    said["clips"][1]["steps"] = 7
    file.write_text(json.dumps(said))
    outcome, reason = make_clip(asked, cache, paint_clip)
    assert outcome == "damaged" and "clip 'clip-0001' is malformed" in reason
    assert make_clip(asked.model_copy(update={"clip_id": "clip-9"}), cache, paint_clip)[0] == "damaged"

    def full(*_: object) -> None:
        raise CannotWrite("the disk is full", "free space")

    def defect(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    assert make_clip(asked, cache, full)[0] == "unwritten"
    assert make_clip(asked, cache, defect) == ("damaged", "ZeroDivisionError: a defect")
    assert list(cache.folder.iterdir()) == [] and list(sheets_beside(cache, tmp_path).folder.iterdir()) == []
