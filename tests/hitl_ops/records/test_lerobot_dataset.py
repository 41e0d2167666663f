"""What we write opens in LeRobot and is what LeRobot would have written; what others wrote is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.conversion.recordings import made_up_episode
from benchmarks.conversion.stock_writer import write_with_lerobot
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_edit import rewrite_dataset
from hitl_ops.records.lerobot_layout import read_info
from hitl_ops.records.lerobot_reading import LeRobotFolder, check_dataset, open_lerobot
from hitl_ops.records.station_hdf5 import list_station_episodes, read_pictures
from hitl_ops.records.video_encoding import LEROBOT_DEFAULT, VideoSettings
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset

pytestmark = pytest.mark.slow  # importing lerobot takes seconds

SIZE = (96, 128)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        datasets.disable_progress_bars()
        yield


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    for n in range(3):
        made_up_episode(folder / "state" / f"episode_{n}.hdf5", 40 + 7 * n, n)
        made_up_episode(folder / "video" / f"episode_{n}.hdf5", 11 + 3 * n, n, SIZE)
    return {name: folder / name for name in ("state", "video")}


def _opened(root: Path) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("flywheel/test", root=root, video_backend="pyav")


def _equal_rows(ours: Any, theirs: Any) -> None:
    assert (len(ours), ours.num_episodes) == (len(theirs), theirs.num_episodes)
    assert ours.hf_dataset.features == theirs.hf_dataset.features
    mine, stock = (one.hf_dataset.with_format("numpy")[:] for one in (ours, theirs))
    for key in stock:
        np.testing.assert_array_equal(np.asarray(mine[key]), np.asarray(stock[key]), err_msg=key)
    assert [ours[n]["task"] for n in range(len(ours))] == [theirs[n]["task"] for n in range(len(theirs))]


def _equal_stats(ours: Any, theirs: Any, rtol: float = 1e-12) -> None:
    assert set(ours.meta.stats) == set(theirs.meta.stats)
    for key, stats in theirs.meta.stats.items():
        assert set(ours.meta.stats[key]) == set(stats)
        for name, value in stats.items():
            assert ours.meta.stats[key][name].shape == value.shape, (key, name)
            np.testing.assert_allclose(
                ours.meta.stats[key][name], value, rtol=rtol, atol=1e-15, err_msg=f"{key} {name}"
            )


def test_numbers_are_those_of_lerobots_own_writer(recordings: dict[str, Path], tmp_path: Path) -> None:
    build_station_dataset(recordings["state"], tmp_path / "ours", StationDatasetConfig())
    write_with_lerobot(list_station_episodes(recordings["state"]), tmp_path / "theirs")
    ours, theirs = _opened(tmp_path / "ours"), _opened(tmp_path / "theirs")
    assert ours.meta.features == theirs.meta.features
    assert ours.meta.info == theirs.meta.info
    assert ours.meta.tasks.equals(theirs.meta.tasks)
    _equal_rows(ours, theirs)
    _equal_stats(ours, theirs)
    mine, stock = (one.meta.episodes.with_format("numpy")[:] for one in (ours, theirs))
    assert set(mine) == set(stock)
    for key in set(stock) - {"tasks"}:
        np.testing.assert_array_equal(np.asarray(mine[key]), np.asarray(stock[key]), err_msg=key)
    # And episode by episode, with the statistics that LeRobot keeps in the same table.
    ours_of, theirs_of = (list(open_lerobot(tmp_path / name).entries()) for name in ("ours", "theirs"))
    for one, other in zip(ours_of, theirs_of, strict=True):
        assert one.tasks == other.tasks
        for key, stats in other.stats.items():
            for name, value in stats.items():
                np.testing.assert_array_equal(one.stats[key][name], value, err_msg=f"{key} {name}")
    check_dataset(tmp_path / "theirs")


def test_videos_are_those_of_lerobots_own_writer(recordings: dict[str, Path], tmp_path: Path) -> None:
    import torch

    settings = VideoSettings(crf=12)
    files = list_station_episodes(recordings["video"])
    build_station_dataset(recordings["video"], tmp_path / "ours", StationDatasetConfig(video=settings))
    write_with_lerobot(files, tmp_path / "theirs", settings)
    ours, theirs = _opened(tmp_path / "ours"), _opened(tmp_path / "theirs")
    assert ours.meta.features == theirs.meta.features
    _equal_rows(ours, theirs)
    _equal_stats(ours, theirs)
    key = "observation.images.cam_high"
    for n in range(len(theirs)):
        one, other = ours[n][key], theirs[n][key]
        assert one.shape == other.shape == (3, *SIZE)
        # Ours never went through RGB: what is left is rounding, and what the codec makes of it.
        assert torch.mean(torch.abs(one - other)) < 0.01, n
    assert len(list(read_pictures(files[2], "cam_high"))) == ours.meta.episodes[2]["length"]


@pytest.mark.parametrize("what", ["h264", "LeRobot's default"])
def test_ours_and_a_stock_data_set_merge(recordings: dict[str, Path], tmp_path: Path, what: str) -> None:
    from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets

    source = recordings["video"]
    settings = LEROBOT_DEFAULT if what == "LeRobot's default" else VideoSettings()
    build_station_dataset(source, tmp_path / "ours", StationDatasetConfig(video=settings))
    write_with_lerobot(list_station_episodes(source)[:2], tmp_path / "theirs", None if "LeRobot" in what else settings)
    ours, theirs = _opened(tmp_path / "ours"), _opened(tmp_path / "theirs")
    for name, order in (("ours first", [ours, theirs]), ("theirs first", [theirs, ours])):
        merged = merge_datasets(order, "flywheel/merged", tmp_path / name)
        assert (merged.num_episodes, len(merged)) == (5, len(ours) + len(theirs))
        check_dataset(tmp_path / name)
        last = merged[len(merged) - 1]
        assert last["episode_index"] == 4
        np.testing.assert_array_equal(last["action"], order[1][len(order[1]) - 1]["action"])
    left = delete_episodes(ours, [0], tmp_path / "left", "flywheel/left")
    assert (left.num_episodes, len(left)) == (2, len(ours) - ours.meta.episodes[0]["length"])
    # And ours reads what LeRobot made of it.
    rewrite_dataset(tmp_path / "theirs first", tmp_path / "again", drop=["1"])
    check_dataset(tmp_path / "again")
    assert len(_opened(tmp_path / "again")) == len(merged) - theirs.meta.episodes[1]["length"]


def _as_v21(folder: LeRobotFolder, root: Path) -> None:
    """Lay a data set out as version 2.1 did."""
    import pyarrow.parquet as pq

    (root / "meta").mkdir(parents=True)
    episodes, stats = [], []
    for entry, table in folder.episodes():
        data = root / f"data/chunk-000/episode_{entry.index:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, data)
        for key, (path, _, _) in entry.videos.items():
            video = root / f"videos/chunk-000/{key}/episode_{entry.index:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, video)
        episodes.append({"episode_index": entry.index, "tasks": entry.tasks, "length": entry.length})
        plain = {
            key: {name: value.tolist() for name, value in one.items() if not name.startswith("q")}
            for key, one in entry.stats.items()
        }
        stats.append({"episode_index": entry.index, "stats": plain})
    tasks = [{"task_index": number, "task": task} for number, task in folder.tasks.items()]
    for name, lines in (("episodes", episodes), ("episodes_stats", stats), ("tasks", tasks)):
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    info = folder.info.plain() | {"codebase_version": "v2.1", "total_chunks": 1, "total_videos": len(episodes)}
    info["data_path"] = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    info["video_path"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    (root / "meta/info.json").write_text(json.dumps(info))


def test_version_2_1_in_version_3_out(recordings: dict[str, Path], tmp_path: Path) -> None:
    build_station_dataset(recordings["video"], tmp_path / "new", StationDatasetConfig())
    _as_v21(open_lerobot(tmp_path / "new"), tmp_path / "old")
    check_dataset(tmp_path / "old")
    rewrite_dataset(tmp_path / "old", tmp_path / "again")
    check_dataset(tmp_path / "again")
    again, new = _opened(tmp_path / "again"), _opened(tmp_path / "new")
    assert again.meta.features == new.meta.features
    _equal_rows(again, new)
    stats = {key: one for key, one in new.meta.stats.items() if "images" not in key}
    for key, one in stats.items():
        for name, value in one.items():
            np.testing.assert_allclose(again.meta.stats[key][name], value, rtol=1e-12, atol=1e-15)
    key = "observation.images.cam_high"
    assert (again[5][key] == new[5][key]).all()
    inodes = {path.stat().st_ino for path in (tmp_path / "old").rglob("*.mp4")}
    assert not inodes & {path.stat().st_ino for path in (tmp_path / "again").rglob("*.mp4")}  # theirs stay theirs


def test_what_does_not_agree_is_named(recordings: dict[str, Path], tmp_path: Path) -> None:
    build_station_dataset(recordings["video"], tmp_path / "set", StationDatasetConfig())
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "set", whole)
    video = next((tmp_path / "set").rglob("*.mp4"))
    video.unlink()
    with pytest.raises(UserError, match="has no video 'observation"):
        check_dataset(tmp_path / "set")
    info = json.loads((whole / "meta/info.json").read_text())
    (whole / "meta/info.json").write_text(json.dumps(info | {"total_frames": 999}))
    with pytest.raises(UserError, match="999"):
        check_dataset(whole)
    (whole / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))
    with pytest.raises(UserError, match=r"version 'v1\.6'"):
        read_info(whole)
    (whole / "meta/info.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        open_lerobot(whole)
