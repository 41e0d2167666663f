"""Videos of stations' episodes without a server: how cameras are laid out, what cannot be made, what is let go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.publish import publish_bytes
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from tests.support.station_recordings import record, robot
from ui_collect.station.recordings import Recordings
from ui_collect.station.video_cache import VideoCache
from ui_collect.station.video_worker import MakeVideo, Picture, make_video, side_by_side


def camera(height: int, width: int, shade: int) -> Iterator[Picture]:
    """Five moments, each a little brighter."""
    return (np.full((height, width, 3), shade + moment, np.uint8) for moment in range(5))


@pytest.mark.parametrize(
    ("sizes", "picture"),
    [
        ([(480, 640)], (360, 480)),
        ([(48, 64), (96, 64)], (96, 128 + 64)),
        ([(100, 100)] * 3, (100, 300)),
        ([(101, 101)] * 4, (200, 200)),
        ([(50, 50)] * 5, (100, 150)),
    ],
)
def test_cameras_stand_side_by_side(sizes: list[tuple[int, int]], picture: tuple[int, int]) -> None:
    cameras = [camera(*size, 20 * number) for number, size in enumerate(sizes)]
    seen = list(side_by_side(cameras, 2, "here"))
    assert [one.shape for one in seen] == [(*picture, 3)] * 3
    assert seen[1][0, 0, 0] == 2, "every second moment"
    assert seen[0][5, picture[1] // len(sizes) // 2, 0] == 0
    if len(sizes) == 4:
        assert [int(seen[0][y, x, 0]) for y, x in ((10, 10), (10, 190), (190, 10), (190, 190))] == [0, 20, 40, 60]
    if len(sizes) == 5:
        assert seen[0][75, 145].tolist() == [0, 0, 0], "what a row lacks is black"


def test_what_cannot_be_shown_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    cache = VideoCache.of(Store.at(tmp_path), "video", 10)
    stamp = "0" * 32
    damaged = tmp_path / "damaged.hdf5"
    damaged.write_bytes(b"nothing")
    outcome, reason = make_video(MakeVideo(stamp=stamp, path=str(damaged)), cache)
    assert outcome == "damaged" and "is corrupt" in reason
    blind = record(tmp_path / "blind.hdf5", 10)
    assert make_video(MakeVideo(stamp=stamp, path=str(blind)), cache)[0] == "damaged"
    seeing = record(tmp_path / "seeing.hdf5", 10, spec=robot("cam_high"))
    cache.folder.mkdir(parents=True, exist_ok=True)
    assert make_video(MakeVideo(stamp=stamp, path=str(seeing)), cache) == ("made", "")
    seeing.unlink()
    assert make_video(MakeVideo(stamp=stamp, path=str(seeing)), cache) == ("made", ""), "what is there stays"
    for odd in ("../../x", "", "0" * 31, "G" * 32):
        with pytest.raises(ValueError):
            cache.file(odd)


def test_what_was_not_looked_at_longest_goes_first(tmp_path: Path) -> None:
    cache = VideoCache("poster", tmp_path / "posters", 250)
    stamps = [f"{number:032x}" for number in range(3)]
    for age, stamp in enumerate(stamps):
        publish_bytes(cache.file(stamp), bytes(100))
        os.utime(cache.file(stamp), (1000 + age, 1000 + age))
    assert cache.holds(stamps[0]), "looked at just now"
    cache.trim(spared=stamps[2])
    assert [cache.holds(stamp) for stamp in stamps] == [True, False, True]


def test_recordings_are_read_when_they_change(tmp_path: Path) -> None:
    folder = EpochFolder(tmp_path, "lift_lid", 1)
    first = record(folder.episode(0), 10, episode_id="a")
    record(folder.episode(1), 10, episode_id="a", seed=1)
    (folder.raw / "episode_2.hdf5").write_bytes(b"nothing")
    (folder.raw / "episode_3.hdf5.upload-0123").write_bytes(first.read_bytes())
    recordings = Recordings(tmp_path)
    before = recordings.one("a")
    assert before is not None and (before.path, list(recordings.all())) == (first, ["a"]), "one of two copies"
    first.unlink()
    record(folder.episode(0), 12, episode_id="b")
    assert {key: one.frames for key, one in recordings.all().items()} == {"b": 12, "a": 10}
    after = recordings.one("a")
    assert after is not None and after.stamp != before.stamp
    assert recordings.one("../../b") is None
