"""People's plays on video: each film is of its play, what is finished stays, and nothing half is ever found."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation import session_videos
from hitl_ops.evaluation.play_film import FilmConfig, _captions
from hitl_ops.evaluation.session_videos import (
    PlayVideo,
    SessionVideosConfig,
    read_session_videos,
    record_session_videos,
)
from hitl_ops.samples.collected_plays import PlayManifest, collect_plays, read_play_manifest
from hitl_ops.worlds.household.tools import SUCCESS
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode

SMALL = FilmConfig(frames_per_second=2, speed=2, width=640, height=240)
ONE_BY_ONE = SessionVideosConfig(processes=1, film=SMALL)
DENSE = SessionVideosConfig(processes=1, film=SMALL.replace(frames_per_second=10, speed=1))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An iteration's sessions: a solved play and two that were given up, with their list."""
    people = Collected(Store.at(tmp_path_factory.mktemp("store")))
    people.play(small_episode())
    people.play(small_episode(), "bob", solve=False, idle_ticks=120)
    people.play(small_episode(), "cleo", solve=False, idle_ticks=90)
    collect_plays(people.labels, people.store.iteration("planner", 0))
    return people.sessions


@pytest.fixture
def sessions(collected: Path, tmp_path: Path) -> Path:
    """A copy of them, to be written to."""
    return Path(shutil.copytree(collected, tmp_path / "sessions"))


@pytest.fixture
def manifest(sessions: Path) -> PlayManifest:
    return read_play_manifest(sessions)


def ids(manifest: PlayManifest) -> list[str]:
    return [play.play_id for play in manifest.plays]


def frames(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def check(video: PlayVideo, sessions: Path) -> None:
    """A video is whole: as many frames as it says, and a poster of its size."""
    pictures = frames(sessions / video.video)
    assert len(pictures) == video.frames
    with Image.open(sessions / video.poster) as poster:
        assert poster.format == "JPEG" and (poster.height, poster.width) == pictures[0].shape[:2]


def leftovers(sessions: Path) -> list[Path]:
    return list(sessions.rglob(f"*{TEMPORARY_MARK}*"))


@pytest.mark.slow
def test_the_first_plays_of_the_queue_are_filmed_at_once_and_kept(sessions: Path, manifest: PlayManifest) -> None:
    solved, first, second = ids(manifest)
    told: list[tuple[int, int]] = []
    config = SessionVideosConfig(most_plays=2, processes=2, film=SMALL)
    videos = record_session_videos(
        manifest, sessions, [second, solved, first], config, lambda done, total, note="": told.append((done, total))
    )
    assert [video.play_id for video in videos.videos] == [second, solved]
    assert (videos.made_now, videos.unfilmed, videos.plays_hash) == (2, [], manifest.hash)
    assert read_session_videos(sessions) == videos
    assert told[0] == (0, 2) and told[-1] == (2, 2) and told == sorted(told) and len(told) > 10
    for video in videos.videos:
        check(video, sessions)
    solving = next(video for video in videos.videos if video.play_id == solved)
    pictures = frames(sessions / solving.video)
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 3, "nothing moves"
    assert not leftovers(sessions)

    # Nothing is made again, whatever does not show in a video; the rest of the queue is.
    kept = {file: file.stat().st_mtime_ns for file in (sessions / "videos").iterdir() if file.suffix == ".mp4"}
    again = record_session_videos(manifest, sessions, ids(manifest), SessionVideosConfig(processes=1, film=SMALL))
    assert (again.made_now, len(again.videos)) == (1, 3)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept

    # What is damaged is made again, and only that.
    (sessions / again.videos[1].video).write_bytes(b"not a film")
    (sessions / again.videos[2].poster).unlink()
    mended = record_session_videos(manifest, sessions, ids(manifest), ONE_BY_ONE)
    assert mended.made_now == 2
    for video in mended.videos:
        check(video, sessions)

    # Another kind of film is another film; a play that was taken back leaves none.
    other = ONE_BY_ONE.replace(film=SMALL.replace(speed=8).model_dump())
    fewer = manifest.model_copy(update={"plays": manifest.plays[:2]})
    faster = record_session_videos(fewer, sessions, ids(fewer), other)
    assert faster.made_now == 2
    assert faster.videos[0].frames < mended.videos[0].frames
    assert not [file for file in (sessions / "videos").iterdir() if file.stem == second]


@pytest.mark.slow
def test_one_bad_play_costs_one_video(sessions: Path, manifest: PlayManifest) -> None:
    solved, first, second = ids(manifest)
    damaged, strange = (
        next(play for play in manifest.plays if play.play_id == name).trace(sessions) for name in (first, second)
    )
    log = damaged.parent.parent / f"{first}.log.jsonl.gz"
    log.write_bytes(log.read_bytes()[:-20])
    # Sound, but not what was listed.
    other = strange.parent.parent / f"{second}.log.jsonl.gz"
    other.write_bytes(gzip.compress(gzip.decompress(other.read_bytes()), mtime=1))
    videos = record_session_videos(manifest, sessions, [first, second, solved], ONE_BY_ONE)
    assert [video.play_id for video in videos.videos] == [solved]
    assert [play.play_id for play in videos.unfilmed] == [first, second]
    assert "is damaged" in videos.unfilmed[0].reason and "has changed" in videos.unfilmed[1].reason


@pytest.mark.slow
def test_a_play_that_ends_its_process_is_tried_again_and_then_left_out(sessions: Path, manifest: PlayManifest) -> None:
    solved, first, _ = ids(manifest)
    killed: list[int] = []

    def kill(done: int, total: int, note: str = "") -> None:
        """End every process that films something, as often as the first play may be tried."""
        for child in psutil.Process().children():
            films = "spawn_main" in " ".join(child.cmdline())  # not Python's own keeper of shared resources
            if films and " frames" in note and not done and child.pid not in killed and len(killed) < 3:
                killed.append(child.pid)
                child.kill()

    with_one = record_session_videos(manifest, sessions, [solved], ONE_BY_ONE, kill)
    assert with_one.videos == []
    assert "ended with exit code -9" in with_one.unfilmed[0].reason
    assert len(killed) == session_videos.CRASH_TRIES
    both = record_session_videos(manifest, sessions, [solved, first], ONE_BY_ONE, kill)
    assert len(killed) == 3
    assert [video.play_id for video in both.videos] == [solved, first]
    for video in both.videos:
        check(video, sessions)


@pytest.mark.slow
def test_what_cannot_be_written_stops_it_and_what_is_finished_stays(sessions: Path, manifest: PlayManifest) -> None:
    first, second, _ = ids(manifest)
    blocking = sessions / "videos" / f"{second}.mp4"
    (blocking / "in-the-way").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write '.*\.mp4'"):
        record_session_videos(manifest, sessions, [first, second], ONE_BY_ONE)
    shutil.rmtree(blocking)
    assert record_session_videos(manifest, sessions, [first, second], ONE_BY_ONE).made_now == 1
    assert not leftovers(sessions)


def running(sessions: Path) -> subprocess.Popen[str]:
    """The filming in a process of its own, which says a line a frame."""
    script = f"""
if __name__ == "__main__":
    from pathlib import Path
    from hitl_ops.evaluation.session_videos import SessionVideosConfig, record_session_videos
    from hitl_ops.samples.collected_plays import read_play_manifest
    sessions = Path({str(sessions)!r})
    manifest = read_play_manifest(sessions)
    record_session_videos(
        manifest, sessions, [play.play_id for play in manifest.plays],
        SessionVideosConfig.model_validate({DENSE.model_dump()!r}),
        lambda done, total, note="": print(done, note, flush=True),
    )
"""
    file = sessions.parent / "filming.py"
    file.write_text(script)
    return subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True, start_new_session=True)


def everybody(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


@pytest.fixture
def filming(sessions: Path) -> Iterator[subprocess.Popen[str]]:
    process = running(sessions)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_leaves_no_half_video_and_nobody_behind(
    sessions: Path, manifest: PlayManifest, filming: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert filming.stdout is not None
    for line in filming.stdout:
        if line.startswith("1 videos"):
            break
    for _ in range(10):  # the next one is under way
        assert filming.stdout.readline().startswith("1 videos")
    left = everybody(filming)
    filming.send_signal(number)
    filming.wait(timeout=60)
    assert not psutil.wait_procs(left, timeout=60)[1]
    whole = [file for file in (sessions / "videos").iterdir() if file.name.endswith(".mp4")]
    assert whole and all(frames(file) for file in whole)
    videos = record_session_videos(manifest, sessions, ids(manifest), DENSE)
    assert videos.made_now <= 2, "what was finished was made again"
    assert len(videos.videos) == 3 and not leftovers(sessions)


def test_a_play_that_is_not_listed_is_named(sessions: Path, manifest: PlayManifest) -> None:
    with pytest.raises(UserError, match="play '0123' is not among the plays"):
        record_session_videos(manifest, sessions, ["0123"], ONE_BY_ONE)
    assert not (sessions / "videos").exists()


def test_without_plays_there_is_an_empty_list(sessions: Path, manifest: PlayManifest) -> None:
    assert record_session_videos(manifest, sessions, []).videos == []
    assert read_session_videos(sessions).videos == []


def test_the_list_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="session_videos first"):
        read_session_videos(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "videos.json").write_text("{}")
    with pytest.raises(UserError, match="is damaged"):
        read_session_videos(tmp_path)


def test_speed_rate_and_bound_say_how_many_frames_there_are() -> None:
    film = FilmConfig(frames_per_second=5, speed=4)
    assert film.ticks_per_frame(3000, "opengl") == 24
    assert film.replace(speed=2).ticks_per_frame(3000, "opengl") == 12
    assert film.replace(frames_per_second=10).ticks_per_frame(3000, "opengl") == 12
    assert film.replace(speed=0.01).ticks_per_frame(3000, "opengl") == 1
    # Ten minutes in at most a hundred frames, the first and the last among them.
    bounded = film.replace(most_frames=100)
    assert 18000 // bounded.ticks_per_frame(18000, "opengl") + 2 <= 100
    assert bounded.ticks_per_frame(300, "opengl") == 24
    assert (film.rate("opengl"), film.rate("pybullet")) == (5, 1)
    with pytest.raises(UserError, match="width"):
        film.replace(width=640, height=480)


def test_a_configuration_is_known_by_what_shows_in_a_video() -> None:
    base = SessionVideosConfig()
    assert base.fingerprint() == base.replace(most_plays=3, processes=4).fingerprint()
    for change in ({"speed": 5}, {"frames_per_second": 7}, {"most_frames": 9}, {"width": 1200}, {"height": 300}):
        assert base.fingerprint() != base.replace(film=base.film.replace(**change).model_dump()).fingerprint()


def test_captions_say_what_is_done_and_what_came_of_it() -> None:
    player = Player()
    human, partner = player.session.human, player.session.partner
    player.act("Navigate[bedroom_bed_1]")
    player.decide("Pick[lamp_1]")
    begun = _captions(player.session)
    assert begun.instruction == "Bring the mug to the bed."
    assert (begun.actions[human], begun.actions[partner]) == (
        "person: Navigate[bedroom_bed_1]",
        "partner: Pick[lamp_1]",
    )
    assert [answered.response for answered in begun.answered] == ["", ""]
    while player.session.partner_status().status == "acting":
        player.run(1)
    failed = _captions(player.session)
    assert failed.answered[partner].action == "Pick[lamp_1]"
    assert failed.answered[partner].response not in ("", SUCCESS)
    assert failed.actions[partner] == "partner: …", "its policy is asked"
    while player.session.current_action:
        player.run(1)
    arrived = _captions(player.session)
    assert arrived.answered[human] == ("Navigate[bedroom_bed_1]", SUCCESS)
    assert arrived.actions[human] == "person: -"
    assert arrived.note == f"{player.session.tick / 30:.0f} s"


def test_an_error_of_writing_is_known_as_one(tmp_path: Path) -> None:
    from hitl_ops.contracts.publish import publish_text

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWrite, match="in the way"):
        publish_text(tmp_path / "file" / "below", "text")
