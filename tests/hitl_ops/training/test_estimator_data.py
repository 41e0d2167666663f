"""What an estimator learns from: which frames, which pictures, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.progress import silent
from hitl_ops.records.lerobot_overlay import write_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.training.estimator_config import EstimatorTrainConfig
from hitl_ops.training.estimator_data import (
    EstimatorFrames,
    Slot,
    all_pairs,
    planned_steps,
    read_estimator_frames,
)
from hitl_ops.training.estimator_pictures import DecodedPictures, KeptPictures, keep_pictures, looked_at
from tests.support.estimator_sets import waving_set, with_progress

LENGTHS = (12, 9, 1)


@pytest.fixture(scope="module")
def waving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short episodes with one camera; the last has a single frame."""
    return waving_set(tmp_path_factory.mktemp("waving"), LENGTHS)


def config(**changes: Any) -> EstimatorTrainConfig:
    return EstimatorTrainConfig.model_validate({"model": {"image_size": 16, **changes.pop("model", {})}, **changes})


def read(folder: Path, **changes: Any) -> EstimatorFrames:
    return read_estimator_frames(folder / "set", config(**changes), [folder / "progress"])


def test_numbers_and_cameras_are_read(waving: Path) -> None:
    frames = read(waving)
    assert frames.cameras == ("observation.images.cam_high",)
    assert [(one.start, one.length) for one in frames.episodes] == [(0, 12), (12, 9), (21, 1)]
    assert frames.progress[:12].tolist() == np.linspace(0, 1, 12, dtype=np.float32).tolist()
    assert frames.state is not None and frames.state.shape == (22, 14)
    assert frames.task == "Lift the lid off the bowl"
    assert read(waving, model={"use_state": False}).state is None
    assert read(waving).hash == frames.hash != read(waving, model={"use_state": False}).hash


def asked_for(folder: Path, task: str) -> None:
    path = folder / "set" / "meta" / "tasks.parquet"
    tasks = pd.read_parquet(path)
    pd.DataFrame({"task_index": tasks["task_index"].to_numpy()}, index=pd.Index([task], name="task")).to_parquet(path)
    for file in sorted((folder / "set" / "meta" / "episodes").rglob("*.parquet")):
        table = pd.read_parquet(file)
        table["tasks"] = [[task]] * len(table)
        table.to_parquet(file)


def shown_later(folder: Path) -> None:
    for file in sorted((folder / "set" / "data").rglob("*.parquet")):
        table = pd.read_parquet(file)
        table["timestamp"] = (table["timestamp"] + 0.25).astype(np.float32)
        table.to_parquet(file)


def test_another_task_or_other_moments_are_other_data(waving: Path, tmp_path: Path) -> None:
    for name in ("task", "moments"):
        shutil.copytree(waving, tmp_path / name)
    asked_for(tmp_path / "task", "Put the lid on the bowl")
    shown_later(tmp_path / "moments")
    # Progress is read by its overlay, which knows the data set it belongs to.
    for name in ("task", "moments"):
        with_progress(tmp_path / name)
    plain, task, moments = read(waving), read(tmp_path / "task"), read(tmp_path / "moments")
    assert task.task == "Put the lid on the bowl" and task.progress.tolist() == plain.progress.tolist()
    assert task.hash != plain.hash and task.pictures_hash == plain.pictures_hash  # the pictures stay as they are
    assert moments.hash != plain.hash and moments.pictures_hash != plain.pictures_hash


def test_other_first_weights_under_the_same_name_are_another_training(waving: Path, tmp_path: Path) -> None:
    def hash_with(content: bytes, backbone: str) -> str:
        (tmp_path / "model.safetensors").write_bytes(content)
        return read(waving, model={"backbone": backbone, "pretrained": str(tmp_path)}).hash

    assert hash_with(b"one", "smolvla") == hash_with(b"one", "smolvla") != hash_with(b"two", "smolvla")
    published = [read(waving, model={"backbone": "smolvla", "pretrained": name}).hash for name in ("", "lerobot/base")]
    assert published[0] == published[1] != hash_with(b"one", "smolvla")


def test_kept_pictures_are_those_that_are_decoded(waving: Path, tmp_path: Path) -> None:
    frames = read(waving)
    file = keep_pictures(frames, 16, tmp_path, silent, makes=True)
    kept, decoded = KeptPictures(file, frames), DecodedPictures(frames, 16)
    assert np.load(file, mmap_mode="r").shape == (22, 1, 16, 16, 3)
    for episode, rows in ((0, [0, 3, 11]), (1, [2]), (2, [0]), (0, [5])):
        asked = np.array(rows)
        seen = kept.pictures(episode, asked)
        assert np.array_equal(seen, decoded.pictures(episode, asked))
        assert seen.shape == (len(rows), 1, 16, 16, 3)
    made = file.stat().st_mtime_ns
    assert keep_pictures(frames, 16, tmp_path, silent, makes=False) == file  # nothing is decoded a second time
    assert file.stat().st_mtime_ns == made
    other = keep_pictures(read(waving, model={"image_size": 24}), 24, tmp_path, silent, makes=True)
    assert other != file


def test_a_picture_is_moved_and_lit_as_its_slot_says(waving: Path) -> None:
    source = DecodedPictures(read(waving), 16)
    rows = np.array([1, 4])
    plain = looked_at(source, Slot(0, rows))
    moved = looked_at(source, Slot(0, rows, (2, -3, 1.0)))
    assert np.array_equal(moved[:, :, 2:, :-3], plain[:, :, :-2, 3:])
    assert np.array_equal(moved[:, :, 0, :-3], plain[:, :, 0, 3:])
    lit = looked_at(source, Slot(0, rows, (0, 0, 1.5)))
    assert np.array_equal(lit, np.clip(plain * 1.5 + 0.5, 0, 255).astype(np.uint8))


def frames_of(lengths: list[int]) -> Any:
    return SimpleNamespace(episodes=[SimpleNamespace(length=length) for length in lengths])


@given(
    lengths=st.lists(st.integers(2, 300), min_size=1, max_size=6),
    frames=st.integers(2, 9),
    start=st.integers(0, 5),
    span=st.integers(2, 40),
)
def test_a_step_is_the_same_wherever_the_training_goes_on(
    lengths: list[int], frames: int, start: int, span: int
) -> None:
    told = config(
        episodes_per_batch=4, frames_per_episode=frames, near_share=0.5, near_span=span, shift=2, brightness=0.1
    )
    chosen = list(range(len(lengths)))
    whole = list(planned_steps(frames_of(lengths), chosen, told, range(7)))
    later = list(planned_steps(frames_of(lengths), chosen, told, range(start, 7)))
    for one, other in zip(whole[start:], later, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.episode, a.rows.tolist(), a.look) == (b.episode, b.rows.tolist(), b.look)
    for slot in (slot for slots in whole for slot in slots):
        length = lengths[slot.episode]
        assert len(slot.rows) == len(set(slot.rows.tolist())) >= min(frames, length, span)
        assert slot.rows[0] >= 0 and slot.rows[-1] < length and (np.diff(slot.rows) > 0).all()


def test_some_frames_are_near_each_other_and_some_are_not() -> None:
    def reach(share: float) -> list[int]:
        told = config(frames_per_episode=6, near_share=share, near_span=10)
        steps = planned_steps(frames_of([400]), [0], told, range(10))
        return [int(slot.rows[-1] - slot.rows[0]) for slots in steps for slot in slots]

    assert max(reach(1.0)) < 10
    assert min(reach(0.0)) > 10
    mixed = np.array(reach(0.5))
    assert 0.3 < (mixed < 10).mean() < 0.7


def test_pairs_stay_within_their_episode() -> None:
    then, now = all_pairs([3, 1, 2])
    found = set(zip(then.tolist(), now.tolist(), strict=True))
    assert found == {(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (4, 5), (5, 4)}
    assert len(then) == 8


def overlaid(column: dict[int, float]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        opened = open_lerobot(folder / "set")
        values = np.full(sum(LENGTHS), 0.5, np.float32)
        for frame, value in column.items():
            values[frame] = value
        write_overlay(folder / "odd", opened, {"stage_progress_gt": values})
        return [folder / "odd"]

    return make


def without_video(folder: Path) -> list[Path]:
    next((folder / "set" / "videos").rglob("file-001.mp4")).unlink()
    return [folder / "progress"]


@pytest.mark.parametrize(
    ("damage", "changes", "said"),
    [
        (lambda folder: [], {}, r"file-000\.parquet' \(episode 0, from frame 0 on\) has no column 'stage_progress_gt'"),
        (overlaid({14: 1.5}), {}, r"'stage_progress_gt' is 1.5 in episode 1, frame 2 of '.*odd/columns\.parquet'"),
        (overlaid({3: -0.25}), {}, r"is -0.25 in episode 0, frame 3 of"),
        (lambda folder: [folder / "progress"], {"model": {"cameras": ["cam_wrist"]}}, "has no camera 'cam_wrist'"),
        (without_video, {}, r"video '.*file-001\.mp4' of episode 1 \(from frame 0 on\) is missing"),
    ],
)
def test_what_cannot_be_learned_from_is_named(
    waving: Path, tmp_path: Path, damage: Any, changes: dict[str, Any], said: str
) -> None:
    shutil.copytree(waving, tmp_path / "copy")
    overlays = damage(tmp_path / "copy")
    with pytest.raises(UserError, match=said):
        read_estimator_frames(tmp_path / "copy" / "set", config(**changes), overlays)


def test_a_video_that_fails_is_named_and_leaves_no_pictures(waving: Path, tmp_path: Path) -> None:
    shutil.copytree(waving, tmp_path / "copy")
    video = next((tmp_path / "copy" / "set" / "videos").rglob("file-001.mp4"))
    video.write_bytes(video.read_bytes()[:200])
    frames = read(tmp_path / "copy")
    with pytest.raises(UserError, match=r"file-001\.mp4' cannot be decoded at frame 0 of episode 1"):
        keep_pictures(frames, 16, tmp_path / "out", silent, makes=True)
    assert not list((tmp_path / "out" / "pictures").iterdir())
