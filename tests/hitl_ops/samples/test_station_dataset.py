"""Recordings become a LeRobot data set: prompts by verdict, everything counted once, nothing half."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.records import video_encoding
from hitl_ops.records.lerobot_edit import rewrite_dataset
from hitl_ops.records.lerobot_layout import read_info
from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot
from hitl_ops.records.station_hdf5 import list_station_episodes, read_station_episode
from hitl_ops.samples.station_dataset import StationDatasetConfig, StationDatasetSummary, build_station_dataset
from tests.support.dataset_building_process import build_again_and_again
from tests.support.station_recordings import TASK, record, robot

GOOD, BAD = f"{TASK}, Advantage=True", f"{TASK}, Advantage=False"


def _recordings(folder: Path, *labels: Any, cameras: tuple[str, ...] = (), frames: int = 8, **more: Any) -> Path:
    for n, label in enumerate(labels):
        record(folder / f"episode_{n}.hdf5", frames + n, spec=robot(*cameras), label=label, seed=n, **more)
    return folder


def _build(source: Path, out: Path, **config: Any) -> StationDatasetSummary:
    summary = build_station_dataset(source, out, StationDatasetConfig(workers=2, **config))
    check_dataset(out)
    return summary


def _tasks(root: Path) -> list[list[str]]:
    return [entry.tasks for entry in open_lerobot(root).entries()]


def test_rows_prompts_and_facts(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good", "bad", "good")
    summary = _build(raw, tmp_path / "set")
    assert (summary.episodes, summary.frames, summary.good, summary.bad) == (3, 27, 2, 1)
    assert _tasks(tmp_path / "set") == [[GOOD], [BAD], [GOOD]]
    info = read_info(tmp_path / "set")
    assert (info.total_episodes, info.total_frames, info.total_tasks, info.robot_type) == (3, 27, 2, "waving")
    folder = open_lerobot(tmp_path / "set")
    for (entry, table), path in zip(folder.episodes(), list_station_episodes(raw), strict=True):
        episode = read_station_episode(path)
        for feature, array in (("observation.state", episode.qpos), ("action", episode.action)):
            np.testing.assert_array_equal(np.array(table.column(feature).to_pylist(), np.float32), array)
        assert set(table.column("advantage").to_pylist()) == {float(entry.tasks == [GOOD])}
        assert entry.facts["episode_id"] == episode.facts.episode_id
        assert (entry.facts["policy_id"], entry.facts["iteration"]) == ("policy-1", 3)
        assert entry.length == episode.frames


def test_frames_by_hand_are_good_in_a_bad_episode(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "bad", intervened=slice(2, 5))
    _build(raw, tmp_path / "set")
    (_, table) = next(iter(open_lerobot(tmp_path / "set").episodes()))
    assert table.column("advantage").to_pylist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert table.column("is_intervention").to_pylist() == [False] * 2 + [True] * 3 + [False] * 3
    assert _tasks(tmp_path / "set") == [[BAD, GOOD]]
    _build(raw, tmp_path / "other", interventions_good=False)
    assert _tasks(tmp_path / "other") == [[BAD]]


def test_each_setting_does_what_it_says(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    record(raw / "a.hdf5", 6, spec=robot("cam_high", "cam_low", environment=3))
    record(raw / "b.hdf5", 5, spec=robot("cam_high", "cam_low", environment=3), label=None, seed=1)
    record(raw / "c.hdf5", 4, spec=robot("cam_high", "cam_low", environment=3), aborted=True, seed=2)
    summary = _build(raw, tmp_path / "all")
    features = read_info(tmp_path / "all").features
    assert summary.excluded == {"without a verdict": ["b.hdf5"], "aborted": ["c.hdf5"]}
    assert (summary.videos_encoded, summary.episodes) == (2, 1)
    assert features["observation.environment_state"].names == ["lid_0", "lid_1", "lid_2"]
    assert (tmp_path / "all" / "norm_stats.json").is_file()
    narrow = {"velocity": False, "effort": False, "environment_state": False, "norm_stats": False}
    kept = _build(raw, tmp_path / "few", cameras=("cam_low",), unlabelled="keep", aborted="keep", **narrow)
    assert kept.episodes == 3
    assert set(read_info(tmp_path / "few").features) == (
        set(features)
        - {"observation.velocity", "observation.effort", "observation.environment_state", "observation.images.cam_high"}
    )
    assert not (tmp_path / "few" / "norm_stats.json").exists()
    assert _tasks(tmp_path / "few") == [[GOOD], [TASK], [TASK]]
    _build(raw, tmp_path / "plain", prompts="plain", task="Wave", video={"gop": 5})
    assert _tasks(tmp_path / "plain") == [["Wave"]]
    assert "advantage" not in read_info(tmp_path / "plain").features
    said = read_info(tmp_path / "plain").features["observation.images.cam_high"].info
    assert said is not None
    assert (said["video.g"], said["video.codec"], said["video.height"]) == (5, "h264", 48)
    with pytest.raises(UserError, match=r"b\.hdf5' has no verdict"):
        build_station_dataset(raw, tmp_path / "x", StationDatasetConfig(unlabelled="error"))
    assert not (tmp_path / "x").exists()


def test_what_is_said_later_costs_no_video(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good", None, "good", cameras=("cam_high",))
    first = _build(raw, tmp_path / "set")
    before = {path.read_bytes() for path in (tmp_path / "set" / "videos").rglob("*.mp4")}
    ids = [read_station_episode(path).facts.episode_id for path in list_station_episodes(raw)]
    later = build_station_dataset(
        raw,
        tmp_path / "set",
        StationDatasetConfig(),
        verdicts={ids[1]: "bad", "episode_2.hdf5": "bad"},
        exclude=["episode_0.hdf5"],
    )
    check_dataset(tmp_path / "set")
    assert (first.videos_encoded, later.videos_encoded, later.videos_kept) == (2, 1, 1)
    assert _tasks(tmp_path / "set") == [[BAD], [BAD]]
    assert later.excluded == {"excluded": ["episode_0.hdf5"]}
    assert {path.read_bytes() for path in (tmp_path / "set" / "videos").rglob("*.mp4")} & before
    assert first.manifest_hash != later.manifest_hash
    again = build_station_dataset(
        raw, tmp_path / "set", StationDatasetConfig(), verdicts={ids[1]: "bad", ids[2]: "bad"}, exclude=[ids[0]]
    )
    assert again.manifest_hash == later.manifest_hash
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "flywheel-home") == ["raw", "set"]
    with pytest.raises(UserError, match="no recording is named 'episode_9'"):
        build_station_dataset(raw, tmp_path / "set", StationDatasetConfig(), exclude=["episode_9"])
    assert _tasks(tmp_path / "set") == [[BAD], [BAD]]


def test_a_recording_copied_twice_counts_once(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good", "bad")
    shutil.copy(raw / "episode_0.hdf5", raw / "episode_0 (copy).hdf5")
    summary = _build(raw, tmp_path / "set")
    assert summary.episodes == 2
    assert [len(names) for names in summary.excluded.values()] == [1]


@pytest.mark.parametrize("what", ["robot", "camera", "corrupt", "task", "velocity"])
def test_a_recording_unlike_the_others_is_named_and_nothing_changes(tmp_path: Path, what: str) -> None:
    raw = _recordings(tmp_path / "raw", "good", cameras=("cam_high",))
    _build(raw, tmp_path / "set")
    other = record(raw / "odd.hdf5", 6, spec=robot("cam_low" if what == "camera" else "cam_high"), seed=9)
    with h5py.File(other, "a") as file:
        if what == "robot":
            file.attrs["robot"] = "another"
        if what == "task":
            file.attrs["task"] = " "
        if what == "velocity":
            del file["observations/qvel"]
    if what == "corrupt":
        other.write_bytes(other.read_bytes()[:-900])
    with pytest.raises(UserError, match=r"odd\.hdf5'"):
        build_station_dataset(raw, tmp_path / "set", StationDatasetConfig())
    check_dataset(tmp_path / "set")
    assert open_lerobot(tmp_path / "set").info.total_episodes == 1


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no LeRobot data set"):
        build_station_dataset(raw, tmp_path / "papers", StationDatasetConfig())
    with pytest.raises(UserError, match="no recording is left"):
        build_station_dataset(tmp_path / "papers", tmp_path / "set", StationDatasetConfig())
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years of work"


def test_episodes_are_judged_anew_and_dropped_without_their_recordings(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good", "bad", "bad", cameras=("cam_high",), intervened=slice(0, 2))
    _build(raw, tmp_path / "set")
    ids = [entry.facts["episode_id"] for entry in open_lerobot(tmp_path / "set").entries()]
    videos = {path.stat().st_ino for path in (tmp_path / "set").rglob("*.mp4")}
    rewrite_dataset(tmp_path / "set", verdicts={ids[0]: "bad", "1": "good"}, drop=["2"])
    check_dataset(tmp_path / "set")
    assert _tasks(tmp_path / "set") == [[GOOD, BAD], [GOOD]]
    entries = list(open_lerobot(tmp_path / "set").entries())
    assert [entry.facts["episode_id"] for entry in entries] == ids[:2]
    assert {path.stat().st_ino for path in (tmp_path / "set").rglob("*.mp4")} < videos  # linked, not copied
    tables = [table for _, table in open_lerobot(tmp_path / "set").episodes()]
    assert tables[0].column("advantage").to_pylist() == [1, 1] + [0] * 6
    np.testing.assert_array_equal(entries[0].stats["advantage"]["mean"], [0.25])
    norm = json.loads((tmp_path / "set" / "norm_stats.json").read_text())["norm_stats"]["state"]["mean"]
    rows = np.concatenate([np.array(table.column("observation.state").to_pylist()) for table in tables])
    np.testing.assert_allclose(norm, rows.mean(axis=0), atol=1e-7)
    for wrong in ({"verdicts": {"7": "good"}}, {"drop": ["7"]}, {"drop": ["0", "1"]}):
        with pytest.raises(UserError, match=r"(has no episode '7'|no episode is left)"):
            rewrite_dataset(tmp_path / "set", **wrong)
    check_dataset(tmp_path / "set")


def test_encoding_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _recordings(tmp_path / "raw", "good", "good", "good", cameras=("cam_high",))
    real, tries = video_encoding.picture_stats, []

    def interrupted(*given: Any) -> Any:
        tries.append(given)
        if len(tries) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(video_encoding, "picture_stats", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_station_dataset(raw, tmp_path / "set", StationDatasetConfig(workers=1))
    assert not (tmp_path / "set").exists()
    monkeypatch.setattr(video_encoding, "picture_stats", real)
    summary = _build(raw, tmp_path / "set")
    assert (summary.videos_encoded, summary.videos_kept) == (1, 2)
    assert not list(tmp_path.glob(".set*"))


@pytest.mark.slow
@pytest.mark.integration
def test_a_kill_leaves_the_old_data_set_or_the_new_one(tmp_path: Path) -> None:
    raw = _recordings(tmp_path / "raw", "good", "bad", "good", cameras=("cam_high",))
    _build(raw, tmp_path / "set")
    chance = random.Random(11)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.dataset_building_process"])
    for _ in range(6):
        process = processes.Process(target=build_again_and_again, args=(raw, tmp_path / "set"))
        process.start()
        started = time.monotonic()
        before = (tmp_path / "set").stat().st_ino
        while (tmp_path / "set").stat().st_ino == before:  # it is up, and replaces the data set over and over
            assert time.monotonic() - started < 60
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.join()
        check_dataset(tmp_path / "set")
        assert open_lerobot(tmp_path / "set").info.total_episodes == 3
    _build(raw, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "flywheel-home") == ["raw", "set"]
