"""Clips of stations: the recording's own numbers, compared within a task; what cannot be cut is named."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.records.clips import ClipSet, open_clip_set
from hitl_ops.records.station_hdf5 import read_station_episode
from hitl_ops.samples.station_clips import StationClipConfig, make_station_clips
from tests.support.station_recordings import record, robot

SMALL = robot("cam_high", size=(16, 24))
LIFT, FOLD = "Lift the lid off the bowl", "Fold the cloth"


def at(store: Store, task: str, epoch: int, number: int, station: str = "") -> Path:
    return EpochFolder(store.station_incoming, task, epoch).episode(number, station)


@pytest.fixture(scope="module")
def came_in(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two tasks and two epochs, and beside them what nothing can be cut from."""
    store = Store.at(tmp_path_factory.mktemp("store"))
    for number, frames in enumerate((60, 25, 90)):
        record(at(store, "lid", 0, number), frames, spec=SMALL, seed=number, task=LIFT)
    record(at(store, "lid", 1, 0, "left"), 40, spec=SMALL, seed=7, task=LIFT)
    for number in range(2):
        record(at(store, "cloth", 0, number), 30, spec=SMALL, seed=20 + number, task=FOLD)
    record(at(store, "lid", 0, 3), 30, spec=SMALL, seed=9, aborted=True)
    record(at(store, "lid", 0, 4), 30, spec=robot(), seed=10)
    shutil.copyfile(at(store, "lid", 0, 0), at(store, "lid", 0, 5))
    at(store, "lid", 0, 6).write_bytes(at(store, "lid", 0, 1).read_bytes()[:3000])
    (at(store, "lid", 0, 0).parent / ".episode_7.hdf5.aX").write_bytes(b"on its way")
    return store


def made(store: Store, out: Path, **config: object) -> ClipSet:
    make_station_clips(store, StationClipConfig.model_validate(config), out)
    return open_clip_set(out)


def test_clips_are_the_recordings_own_numbers(came_in: Store, tmp_path: Path) -> None:
    found = made(came_in, tmp_path / "clips", seconds=0.5)
    starts: dict[str, list[int]] = {}
    for clip in found.all_clips():
        facts = clip.facts
        episode = read_station_episode(came_in.root / facts.record)
        rows = slice(facts.start, facts.start + facts.steps)
        assert facts.steps == 25 and facts.fps == 50
        assert np.array_equal(clip.observations, episode.qpos[rows])
        assert np.array_equal(clip.actions, episode.action[rows])
        assert (facts.kind, facts.episode_id, facts.task) == ("station", episode.facts.episode_id, episode.facts.task)
        assert facts.policy_id == "policy-1"
        starts.setdefault(facts.record, []).append(facts.start)
    # 60 frames have room for two of 25, 25 for one, 90 for three, of which two are taken.
    assert sorted(len(all_) for all_ in starts.values()) == [1, 1, 1, 1, 2, 2]
    for all_ in starts.values():
        assert all(later - sooner >= 25 for sooner, later in itertools.pairwise(all_))


def test_what_has_no_clip_is_said(came_in: Store, tmp_path: Path) -> None:
    left_out = made(came_in, tmp_path / "clips").facts.made["left_out"]
    said = {Path(name).stem: why for name, why in left_out.items()}
    copy = {"episode_0", "episode_5"} & set(said)
    assert set(said) == {"episode_3", "episode_4", "episode_6"} | copy and len(copy) == 1
    assert "was broken off (stopped)" in said["episode_3"]
    assert "has no camera" in said["episode_4"]
    assert "is corrupt" in said["episode_6"]
    assert "is a copy of another recording" in said[copy.pop()]


def test_pairs_are_of_one_task_and_different_episodes_first(came_in: Store, tmp_path: Path) -> None:
    found = made(came_in, tmp_path / "clips", seconds=0.5, pairs=1000)
    sides = [(found.clips[pair.left], found.clips[pair.right]) for pair in found.pairs]
    assert all(left.task == right.task for left, right in sides)
    within = [left.episode_id == right.episode_id for left, right in sides]
    assert within == sorted(within) and sum(within) == 2
    # 6 clips of four episodes with the lid, 2 with the cloth: every pair once, whichever side.
    assert len({frozenset((pair.left, pair.right)) for pair in found.pairs}) == len(found.pairs) == 15 + 1


def test_a_seed_says_everything_that_is_by_lot(came_in: Store, tmp_path: Path) -> None:
    sets = [made(came_in, tmp_path / f"clips-{n}", seconds=0.3, seed=seed) for n, seed in enumerate((1, 1, 2))]
    contents = [[path.read_bytes() for path in one.files()] for one in sets]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_whole_episodes_one_task_and_one_epoch(came_in: Store, tmp_path: Path) -> None:
    whole = made(came_in, tmp_path / "whole", whole=True, task="lid")
    assert sorted(facts.steps for facts in whole.facts.clips) == [25, 40, 60, 90]
    cloth = made(came_in, tmp_path / "cloth", epoch=0, task="cloth", pairs=5)
    assert {facts.task for facts in cloth.facts.clips} == {FOLD}
    assert len(cloth.pairs) == 1
    few = made(came_in, tmp_path / "few", clips=3, seconds=0.2, task="lid")
    assert len(few.clips) == 3
    stopped = made(came_in, tmp_path / "stopped", aborted=True, task="lid")
    assert any("episode_3" in facts.record for facts in stopped.facts.clips)


def test_nothing_to_compare_is_an_error_and_no_set(came_in: Store, tmp_path: Path) -> None:
    out = tmp_path / "clips"
    with pytest.raises(UserError, match=r"no such recordings in .*incoming"):
        made(Store.at(tmp_path / "empty"), out)
    with pytest.raises(UserError, match="no such recordings"):
        made(came_in, out, epoch=7)
    with pytest.raises(UserError, match=r"1 clips of 1 recordings make no pair"):
        made(came_in, out, epoch=1)
    with pytest.raises(UserError, match=r"make no pair \('.*' has no camera 'cam_wrist'\)"):
        made(came_in, out, camera="cam_wrist")
    assert not out.exists()


def test_robots_with_different_joints_are_not_mixed(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    record(at(store, "lid", 0, 0), 10, spec=SMALL)
    record(at(store, "cup", 0, 0), 10, spec=SMALL.replace(joint_names=("a", "b"), gripper_indices=()))
    with pytest.raises(UserError, match="are of robots with different joints: name one task"):
        made(store, tmp_path / "clips")
