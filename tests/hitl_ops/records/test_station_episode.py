"""Recording at a station: what was taken in is kept, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.records import station_episode
from hitl_ops.records.pictures import decode_jpeg, encode_jpeg
from hitl_ops.records.station_episode import StationEpisodeWriter, journal_of, repair_unfinished
from hitl_ops.records.station_hdf5 import (
    StationFacts,
    list_station_episodes,
    read_pictures,
    read_station_episode,
    read_station_facts,
)
from hitl_ops.records.station_journal import Frame, end_record, frame_record, head_of_journal
from tests.support.station_recordings import JOINTS, TASK, picture, record, record_without_end, robot, vectors


def test_an_episode_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    spec = robot("cam_high", "cam_low", environment=5)
    path = record(tmp_path / "epoch_3" / "episode_0.hdf5", 70, spec=spec, intervened=slice(10, 20))
    episode = read_station_episode(path)
    for name, array in vectors(spec, 70, 0).items():
        np.testing.assert_array_equal(getattr(episode, name), array)
    np.testing.assert_array_equal(episode.timestamp, np.arange(70) / 50)
    assert np.flatnonzero(episode.intervention).tolist() == list(range(10, 20))
    assert episode.cameras == {"cam_high": (48, 64), "cam_low": (48, 64)}
    facts = episode.facts
    assert (facts.task, facts.fps, facts.robot, facts.joint_names) == (TASK, 50, "waving", JOINTS)
    assert (facts.policy_id, facts.iteration, facts.sim, facts.status) == ("policy-1", 3, True, "complete")
    assert (facts.advantage, facts.verdict, facts.success) == (True, "good", True)
    pictures = list(read_pictures(path, "cam_low"))
    assert len(pictures) == 70
    seen = decode_jpeg(pictures[40], "frame 40").astype(int)
    assert np.abs(seen - picture(48, 64, 40 / 25)).mean() < 6
    assert [file.name for file in path.parent.iterdir()] == ["episode_0.hdf5"]


def test_a_plain_hdf5_reader_finds_the_aloha_convention(tmp_path: Path) -> None:
    path = record(tmp_path / "episode_0.hdf5", 12, spec=robot("cam_high"), label="bad")
    with h5py.File(path) as file:
        shapes = {name: file[name].shape for name in ("action", "observations/qpos", "observations/qvel")}
        assert set(shapes.values()) == {(12, 14)}
        assert file["observations/effort"].dtype == np.float32
        assert bytes(file["observations/images/cam_high"][3])[:3] == b"\xff\xd8\xff"
        assert (file.attrs["fps"], file.attrs["task"], file.attrs["advantage"]) == (50.0, TASK, False)


def test_what_came_halfway_is_no_episode(tmp_path: Path) -> None:
    whole = record(tmp_path / "epoch_0" / "raw" / "episode_10.hdf5", 3)
    first = record(tmp_path / "epoch_0" / "raw" / "episode_9.hdf5", 3)
    half = whole.parent / ".rsync-partial" / "episode_11.hdf5"
    half.parent.mkdir()
    half.write_bytes(whole.read_bytes()[:900])
    assert list_station_episodes(tmp_path) == [first, whole]
    # Wherever the folder itself lies.
    assert list_station_episodes(shutil.copytree(whole.parent, tmp_path / ".kept" / "raw")) != []


@pytest.mark.parametrize("padded", [True, False])
def test_files_of_others_are_read(tmp_path: Path, padded: bool) -> None:
    path = tmp_path / "episode_7.hdf5"
    images = np.stack([picture(48, 64, n) for n in range(4)])
    with h5py.File(path, "w") as file:
        file["action"] = np.ones((4, 14))
        file["observations/qpos"] = np.zeros((4, 14))
        encoded = [encode_jpeg(image) for image in images]
        longest = max(map(len, encoded))
        rows = np.stack([np.frombuffer(one.ljust(longest, b"\0"), np.uint8) for one in encoded])
        file["observations/images/top"] = rows if padded else images
        file.attrs["sim"] = True
    episode = read_station_episode(path)
    assert (episode.frames, episode.qvel, episode.cameras) == (4, None, {"top": (48, 64)})
    assert (episode.facts.sim, episode.facts.verdict, episode.facts.status) == (True, None, "complete")
    assert episode.timestamp.tolist() == [0, 0.02, 0.04, 0.06]
    assert next(read_pictures(path, "top")).ndim == (1 if padded else 3)
    copy = shutil.copy(path, tmp_path / "copy.hdf5")
    assert read_station_facts(copy).episode_id == episode.facts.episode_id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"qpos": np.full(14, np.nan)}, "'qpos' of a frame is not finite"),
        ({"action": np.zeros(13)}, r"'action' of a frame has shape \(13,\)"),
        ({"images": {}}, "camera 'cam_high' gives no picture"),
        ({"images": {"cam_high": np.zeros((48, 64, 3), np.float32)}}, "have dtype float32"),
        ({"images": {"cam_high": np.zeros((48, 60, 3), np.uint8)}}, r"have shape \(48, 60, 3\)"),
        ({"timestamp": 0.0}, "is not after"),
        ({"timestamp": float("nan")}, "is not after"),
        ({"environment_state": None}, "'environment_state' of a frame has shape"),
    ],
)
def test_a_frame_that_is_none_is_refused_and_the_episode_goes_on(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    still = np.zeros(14, np.float32)
    frame: dict[str, Any] = {"qpos": still, "qvel": still, "effort": still, "action": still, "timestamp": 0.02}
    frame |= {"images": {"cam_high": picture(48, 64, 0)}, "environment_state": np.zeros(2)}
    with StationEpisodeWriter(tmp_path / "e.hdf5", robot("cam_high", environment=2), TASK, "p", 0) as writer:
        writer.add(**{**frame, "timestamp": 0.0})
        with pytest.raises(UserError, match=said):
            writer.add(**{**frame, **change})
        writer.add(**frame)
        writer.finish(None)
    assert read_station_episode(tmp_path / "e.hdf5").frames == 2
    assert read_station_facts(tmp_path / "e.hdf5").verdict is None


def test_an_episode_that_is_left_is_aborted_and_an_empty_one_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), StationEpisodeWriter(tmp_path / "a.hdf5", robot(), TASK, "p", 0) as writer:
        writer.add(*[np.zeros(14)] * 4, {}, 0.0)
        raise KeyError("the arm")
    facts = read_station_facts(tmp_path / "a.hdf5")
    assert (facts.status, facts.reason, facts.verdict) == ("aborted", "KeyError: 'the arm'", None)
    with StationEpisodeWriter(tmp_path / "b.hdf5", robot(), TASK, "p", 0) as writer:
        pass
    with pytest.raises(UserError, match=r"no frame of 'c\.hdf5' was recorded"):
        StationEpisodeWriter(tmp_path / "c.hdf5", robot(), TASK, "p", 0).finish("good")
    assert [file.name for file in tmp_path.glob("*.hdf5*")] == ["a.hdf5"]


def test_a_recording_never_replaces_another(tmp_path: Path) -> None:
    record(tmp_path / "e.hdf5", 3)
    with pytest.raises(UserError, match=r"e\.hdf5' exists already"):
        StationEpisodeWriter(tmp_path / "e.hdf5", robot(), TASK, "p", 0)
    writer = StationEpisodeWriter(tmp_path / "f.hdf5", robot(), TASK, "p", 0)
    with pytest.raises(UserError, match=r"f\.hdf5\.part' exists already"):
        StationEpisodeWriter(tmp_path / "f.hdf5", robot(), TASK, "p", 0)
    writer.add(*[np.zeros(14)] * 4, {}, 0.0)
    assert repair_unfinished(tmp_path) == []  # it is still being written
    assert writer.finish("good").is_file()


def test_a_full_disk_is_told_and_everything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StationEpisodeWriter(tmp_path / "e.hdf5", robot(), TASK, "p", 0)
    real = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if offset > 2000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, bytes(content)[:700], offset)

    monkeypatch.setattr(station_episode.os, "pwrite", full)
    taken = 0
    with pytest.raises(UserError, match="disk full while writing"):
        for taken in range(1000):
            writer.add(*[np.full(14, taken)] * 4, {}, taken / 50)
            time.sleep(0.001)
    with pytest.raises(UserError, match="disk full while writing"):
        writer.finish("good")
    assert not (tmp_path / "e.hdf5").exists()
    monkeypatch.setattr(station_episode.os, "pwrite", real)
    episode = read_station_episode(writer.finish("good"))
    assert (episode.frames, episode.facts.verdict) == (taken, "good")
    np.testing.assert_array_equal(episode.qpos[:, 3], np.arange(taken))


def test_a_disk_that_fills_while_the_episode_is_published(tmp_path: Path) -> None:
    writer = StationEpisodeWriter(tmp_path / "e.hdf5", robot(), TASK, "p", 0)
    for n in range(5):
        writer.add(*[np.full(14, n)] * 4, {}, n / 50)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The journal, with its end, still has room; HDF5, which needs more, has not.
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal_of(tmp_path / "e.hdf5").stat().st_size + 2500, hard))
    try:
        with pytest.raises(UserError, match=r"e\.hdf5' cannot be written"):
            writer.finish("bad")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.glob("e*")] == ["e.hdf5.part"]
    assert read_station_episode(writer.finish("bad")).facts.verdict == "bad"
    assert [file.name for file in tmp_path.glob("e*")] == ["e.hdf5"]


def _journal(path: Path, frames: int, end: dict[str, Any] | None = None) -> tuple[Path, list[int]]:
    """A journal as a kill leaves it, and where its records end."""
    facts = StationFacts(episode_id="one", task=TASK, joint_names=JOINTS)
    parts = [head_of_journal({"facts": facts.model_dump(), "cameras": {"cam_high": (48, 64)}})]
    for n in range(frames):
        numbers = np.full(4 * 14, n, np.float32)
        parts.append(frame_record(Frame(n / 50, n % 2 == 0, numbers, (encode_jpeg(picture(48, 64, n)),))))
    if end is not None:
        parts.append(end_record(end))
    journal_of(path).write_bytes(b"".join(parts))
    return path, np.cumsum([len(part) for part in parts]).tolist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), damaged=st.booleans())
def test_a_journal_is_cut_to_its_whole_frames(tmp_path: Path, share: float, damaged: bool) -> None:
    path, ends = _journal(tmp_path / "e.hdf5", 6)
    path.unlink(missing_ok=True)
    cut = ends[0] + int(share * (ends[-1] - ends[0]))
    content = bytearray(journal_of(path).read_bytes())
    if damaged and cut < len(content):
        content[cut] ^= 0x55  # a byte that is wrong ends it as one that is missing does
    else:
        content = content[:cut]
    journal_of(path).write_bytes(content)
    whole = sum(end <= cut for end in ends[1:])
    (repaired,) = repair_unfinished(tmp_path)
    assert (repaired.frames, repaired.facts.status) == (whole, "aborted")
    assert not journal_of(path).exists()
    if whole == 0:
        assert repaired.path is None
        assert not path.exists()
        return
    assert repaired.path == path
    episode = read_station_episode(path)
    assert episode.qpos[:, 0].tolist() == list(range(whole))
    assert len(list(read_pictures(path, "cam_high"))) == whole


def test_an_end_that_was_noted_counts_and_nothing_is_doubled(tmp_path: Path) -> None:
    end = {"status": "complete", "reason": "", "advantage": False, "success": True}
    (tmp_path / "deep").mkdir()
    path, _ = _journal(tmp_path / "deep" / "e.hdf5", 4, end)
    journal = journal_of(path).read_bytes()
    (repaired,) = repair_unfinished(tmp_path)
    assert (repaired.facts.verdict, repaired.facts.status, repaired.frames) == ("bad", "complete", 4)
    before = path.stat()
    # Killed between publishing and removing the journal: the episode is there, and stays as it is.
    journal_of(path).write_bytes(journal)
    (path.parent / "e.hdf5.part-1234").write_bytes(b"half")
    repair_unfinished(tmp_path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert list_station_episodes(tmp_path) == [path]
    assert not journal_of(path).exists()
    # Another episode under the same name gets a name of its own.
    other = tmp_path / "other.hdf5"
    record(other, 3)
    shutil.move(other, path)
    journal_of(path).write_bytes(journal)
    (repaired,) = repair_unfinished(tmp_path)
    assert repaired.path == path.with_name("e-one.hdf5")
    assert [read_station_facts(one).episode_id for one in list_station_episodes(tmp_path)].count("one") == 1


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "e.hdf5.part").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"e\.hdf5\.part' is no unfinished recording"):
        repair_unfinished(tmp_path)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda file: file.__delitem__("action"), "has no 'action'"),
        (lambda file: file["observations/qpos"].__setitem__((1, 2), np.nan), "holds nan at frame 1, joint 2"),
        (lambda file: file.attrs.__setitem__("status", "perhaps"), "attribute 'status' is 'perhaps'"),
        (lambda file: file["timestamp"].resize((2,)), "'timestamp' has shape"),
    ],
)
def test_an_episode_that_is_wrong_is_named(tmp_path: Path, break_it: Any, said: str) -> None:
    path = record(tmp_path / "e.hdf5", 3)
    with h5py.File(path, "a") as file:
        if "timestamp" in said:
            del file["timestamp"]
            file.create_dataset("timestamp", data=np.zeros(3), maxshape=(None,))
        break_it(file)
    with pytest.raises(UserError, match=said) as error:
        read_station_episode(path)
    assert str(path) in str(error.value)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="is corrupt"):
        read_station_episode(path)


@pytest.mark.slow
@pytest.mark.integration
def test_a_kill_costs_at_most_the_last_second(tmp_path: Path) -> None:
    chance = random.Random(7)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.station_recordings"])
    recorded = 0
    for number in range(20):
        path = tmp_path / f"episode_{number}.hdf5"
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=record_without_end, args=(path, theirs))
        process.start()
        theirs.close()
        told = [ours.recv()]
        time.sleep(chance.choice([0.1, 0.4, 1.5]) * chance.random())
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                told.append(ours.recv())
        (repaired,) = repair_unfinished(tmp_path)
        before_the_last_second = sum(moment <= told[-1][1] - 1.0 for _, moment in told)
        assert before_the_last_second <= repaired.frames <= told[-1][0] + 1
        if repaired.path is not None:
            recorded += 1
            episode = read_station_episode(path)
            assert episode.facts.status == "aborted"
            assert episode.qpos[:, 0].tolist() == list(range(repaired.frames))
            assert len(list(read_pictures(path, "cam_high"))) == repaired.frames
    assert recorded > 10
    assert len(list_station_episodes(tmp_path)) == recorded
    assert not list(tmp_path.glob("*.part*"))
