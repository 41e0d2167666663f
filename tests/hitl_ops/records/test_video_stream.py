"""Every row gets its own picture, whatever shares a file with it; what does not agree is named; memory is bounded."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder
from hitl_ops.records.video_encoding import VideoSettings, encode_video
from hitl_ops.records.video_stream import Clip, VideoStream
from tests.support.filmed_sets import CAMERAS, FPS, as_version_2_1, make_filmed_set, number_in, picture, shown

LENGTHS = (37, 1, 90, 64)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LeRobotFolder]:
    root = tmp_path_factory.mktemp("sets")
    apart = make_filmed_set(root / "apart", LENGTHS, together=False)
    return {
        "v3": make_filmed_set(root / "together", LENGTHS, gop=12),
        "v2.1": as_version_2_1(apart, root / "old"),
    }


def clips(folder: LeRobotFolder) -> Iterator[Clip]:
    for entry in folder.entries():
        yield Clip(entry.index, np.arange(entry.length) / FPS, entry.videos)


def stream(folder: LeRobotFolder, wanted: Any = None, **settings: Any) -> VideoStream:
    settings = {"size": (20, 32), "chunk": 16, "threads": 2, **settings}
    size = settings.pop("size")
    return VideoStream(clips(folder) if wanted is None else wanted, CAMERAS, size, FPS, **settings)


@pytest.mark.parametrize("version", ["v3", "v2.1"])
@pytest.mark.parametrize("threads", [1, 4])
def test_every_row_gets_its_own_picture(sets: dict[str, LeRobotFolder], version: str, threads: int) -> None:
    seen = []
    with stream(sets[version], threads=threads) as pictures:
        for part in pictures:
            assert 1 <= len(part) <= 16
            for number, images in enumerate(part.cameras):
                assert images.shape == (len(part), 20, 32, 3)
                wanted = [shown(part.episode, part.first + n, number) for n in range(len(part))]
                assert [number_in(image) for image in images] == wanted
            seen += [(part.episode, part.first + n) for n in range(len(part))]
    assert seen == [(n, t) for n, length in enumerate(LENGTHS) for t in range(length)]
    assert pictures.figures.frames == 2 * sum(LENGTHS)
    assert pictures.figures.held == 0
    assert pictures.figures.decode_s > 0


def test_pieces_of_episodes_are_sought(sets: dict[str, LeRobotFolder]) -> None:
    third = next(itertools.islice(clips(sets["v3"]), 2, None))
    for first, last in ((50, 53), (0, 2), (89, 90), (11, 40)):
        with stream(sets["v3"], [Clip(2, third.moments, third.videos, first, last)]) as pictures:
            found = [number_in(image) for part in pictures for image in part.cameras[1]]
        assert found == [shown(2, n, 1) for n in range(first, last)]


@pytest.mark.parametrize("threads", [1, 3])
def test_frames_that_are_stored_out_of_order_come_in_order(tmp_path: Path, threads: int) -> None:
    film = tmp_path / "film.mp4"
    # As others encode: frames that depend on later ones, and few to begin from.
    encode_video([picture(n) for n in range(80)], 80, film, FPS, VideoSettings(preset="medium", gop=40), "test")
    moments = np.arange(50) / FPS
    parts = {0: (film, 0.0, 0.6), 1: (film, 0.6, 1.6)}
    videos = [dict.fromkeys(CAMERAS, part) for part in parts.values()]
    whole = [Clip(0, moments[:30], videos[0]), Clip(1, moments, videos[1])]
    pieces = [Clip(1, moments, videos[1], n, n + 1) for n in (45, 7, 8, 49, 0)]
    for wanted, numbers in ((whole, list(range(80))), (pieces, [75, 37, 38, 79, 30])):
        with VideoStream(wanted, CAMERAS, None, FPS, threads=threads) as pictures:
            assert [number_in(image) for part in pictures for image in part.cameras[0]] == numbers


def test_pictures_come_in_their_own_size_unless_told(sets: dict[str, LeRobotFolder]) -> None:
    with stream(sets["v3"], size=None) as pictures:
        part = next(iter(pictures))
    assert part.cameras[0].shape == (16, 48, 48, 3)
    # What the codec leaves of it: nothing was scaled.
    assert np.abs(part.cameras[0][5].astype(int) - picture(shown(0, 5)).astype(int)).max() < 25


def test_memory_does_not_grow_with_the_episode(tmp_path: Path) -> None:
    folder = make_filmed_set(tmp_path / "long", (300,))
    chunk, ahead = 8, 2
    alive: list[weakref.ref[Any]] = []
    most = 0
    with stream(folder, chunk=chunk, ahead=ahead) as pictures:
        for part in pictures:
            alive = [one for one in alive if one() is not None] + [weakref.ref(images) for images in part.cameras]
            time.sleep(0.002)  # the threads may run as far ahead as they are let
            most = max(most, pictures.figures.held)
    # What waits, and what is being looked at, of two cameras.
    assert most == pictures.figures.most_held == 2 * chunk * (ahead + 1)
    assert len(alive) <= 4


def test_leaving_early_takes_the_threads_down(sets: dict[str, LeRobotFolder]) -> None:
    with stream(sets["v3"]) as pictures:
        next(iter(pictures))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.fixture
def one(sets: dict[str, LeRobotFolder], tmp_path: Path) -> EpisodeEntry:
    """An episode in files of its own, free to be damaged."""
    entry = list(sets["v2.1"].entries())[3]
    for key, (path, start, stop) in entry.videos.items():
        copy = tmp_path / f"{key}.mp4"
        shutil.copy(path, copy)
        entry.videos[key] = (copy, start, stop)
    return entry


def refused(one: EpisodeEntry, rows: int | None = None) -> str:
    moments = np.arange(one.length if rows is None else rows) / FPS
    with (
        pytest.raises(UserError) as caught,
        VideoStream([Clip(3, moments, one.videos)], CAMERAS, None, FPS) as pictures,
    ):
        for _ in pictures:
            pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    return str(caught.value)


def test_missing_file_and_camera_are_named(one: EpisodeEntry) -> None:
    path = one.videos[CAMERAS[1]][0]
    path.unlink()
    assert refused(one).startswith(f"video '{path}' of episode 3 is missing")
    del one.videos[CAMERAS[0]]
    assert refused(one).startswith(f"episode 3 has no camera '{CAMERAS[0]}': it has {CAMERAS[1]}")


def test_frames_and_rows_must_agree(one: EpisodeEntry) -> None:
    path = one.videos[CAMERAS[0]][0]
    assert refused(one, 70).startswith(f"video '{path}' has no frame 64 of episode 3, at 1.2800 s (it ends before)")
    assert refused(one, 60).startswith(f"video '{path}' has a frame 60 of episode 3, which has 60 rows")
    short = [picture(n) for n in range(40)]
    encode_video(short, 40, path, FPS, VideoSettings(), "test")
    assert "has no frame 40 of episode 3" in refused(one)
    # Frames at another rate are not the rows'.
    encode_video([picture(n) for n in range(64)], 64, path, 30, VideoSettings(), "test")
    assert "has no frame 1 of episode 3, at 0.0200 s (the next one there is at 0.0333 s)" in refused(one)


def test_damaged_file_is_named(one: EpisodeEntry) -> None:
    path = one.videos[CAMERAS[0]][0]
    whole = path.read_bytes()
    path.write_bytes(whole[:900])
    assert refused(one).startswith(f"video '{path}' cannot be decoded at frame 0 of episode 3")
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(4000) + whole[middle + 4000 :])
    assert "episode 3" in refused(one) and f"'{path}'" in refused(one)
    path.write_text("no video at all")
    assert refused(one).startswith(f"video '{path}' cannot be decoded at frame 0 of episode 3")
