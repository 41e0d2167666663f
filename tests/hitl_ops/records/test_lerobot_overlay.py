"""Overlays hold columns for a data set without touching it, and belong to that data set alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_columns import read_columns
from hitl_ops.records.lerobot_layout import FACTS_PATH
from hitl_ops.records.lerobot_overlay import dataset_fingerprint, open_overlay, read_column, write_overlay
from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot
from hitl_ops.records.lerobot_relabel import relabel_tasks
from tests.support.lerobot_sets import contents, legacy_file, make_set, rewrite_column

LENGTHS = (5, 1, 8)
PROGRESS = np.linspace(0, 1, sum(LENGTHS), dtype=np.float32)
VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


@VERSIONS
def test_columns_come_back_and_the_data_set_stays(tmp_path: Path, version: str) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": PROGRESS}, version=version, videos=True)
    check_dataset(tmp_path / "set")
    before = contents(tmp_path / "set")
    labels = (np.arange(14) % 2).astype(np.int32)
    facts = write_overlay(
        tmp_path / "over",
        folder,
        {"progress": PROGRESS[::-1], "task_index": labels},
        tasks={0: "bad", 1: "good"},
        made={"by": "test"},
    )
    overlay = open_overlay(tmp_path / "over", folder)
    assert overlay.facts == facts
    assert overlay.tasks == {0: "bad", 1: "good"}
    assert facts.columns == {"progress": "float32", "task_index": "int32"}
    assert (facts.frames, facts.made) == (14, {"by": "test"})
    np.testing.assert_array_equal(overlay.column("task_index"), labels)
    np.testing.assert_array_equal(read_column(folder, "progress"), PROGRESS)
    np.testing.assert_array_equal(read_column(folder, "progress", [overlay]), PROGRESS[::-1])
    np.testing.assert_array_equal(read_column(folder, "frame_index", [overlay]), [*range(5), 0, *range(8)])
    write_overlay(tmp_path / "later", folder, {"progress": PROGRESS / 2})
    later = open_overlay(tmp_path / "later", folder)
    np.testing.assert_array_equal(read_column(folder, "progress", [overlay, later]), PROGRESS / 2)
    np.testing.assert_array_equal(read_column(folder, "progress", [later, overlay]), PROGRESS[::-1])
    assert contents(tmp_path / "set") == before
    with pytest.raises(UserError, match="has no column 'value': it has progress, task_index"):
        overlay.column("value")


@VERSIONS
def test_of_another_data_set_is_refused(tmp_path: Path, version: str) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": PROGRESS}, version=version)
    other = make_set(tmp_path / "other", (5, 8, 1), {"progress": PROGRESS}, version=version)
    write_overlay(tmp_path / "over", folder, {"value": PROGRESS})
    with pytest.raises(UserError, match="was made for another data set"):
        open_overlay(tmp_path / "over", other)
    # How many tasks there are changes with labels, not with the frames.
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    (tmp_path / "set/meta/info.json").write_text(json.dumps(info | {"total_tasks": 2}))
    assert dataset_fingerprint(open_lerobot(tmp_path / "set")) == dataset_fingerprint(folder)
    open_overlay(tmp_path / "over", folder)
    (tmp_path / "over/overlay.json").write_text("{")
    with pytest.raises(UserError, match="is corrupt"):
        open_overlay(tmp_path / "over", folder)
    with pytest.raises(UserError, match="does not exist"):
        open_overlay(tmp_path / "nowhere", folder)


@VERSIONS
def test_equal_lengths_do_not_make_it_the_same_one(tmp_path: Path, version: str) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": PROGRESS}, version=version)
    same = make_set(tmp_path / "same", LENGTHS, {"progress": PROGRESS}, version=version)
    other = make_set(tmp_path / "other", LENGTHS, {"progress": PROGRESS / 2}, version=version)
    write_overlay(tmp_path / "over", folder, {"value": PROGRESS})
    assert dataset_fingerprint(same) == dataset_fingerprint(folder)
    with pytest.raises(UserError, match="was made for another data set"):
        open_overlay(tmp_path / "over", other)
    # Nor do equal numbers, where it is noted which recordings they are of.
    for name, where in (("a", folder.root), ("b", same.root)):
        lines = [json.dumps({"episode_index": n, "episode_id": f"{name}{n}"}) for n in range(len(LENGTHS))]
        (where / FACTS_PATH).write_text("\n".join(lines))
    assert dataset_fingerprint(same) != dataset_fingerprint(folder)


@VERSIONS
@pytest.mark.parametrize("total", [True, False])
def test_labelled_in_place_it_is_still_the_same_one(tmp_path: Path, version: str, total: bool) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": PROGRESS}, version=version)
    if total:
        stats = {"task_index": {"mean": [0.0], "max": [0]}, "progress": {"mean": [0.5]}}
        (folder.root / "meta/stats.json").write_text(json.dumps(stats))
    write_overlay(tmp_path / "over", folder, {"value": PROGRESS})
    before = [entry.stats["task_index"]["max"].item() for entry in folder.entries()]
    relabel_tasks(folder, (np.arange(14) % 2).astype(np.int32), ["bad", "good"])
    labelled = open_lerobot(folder.root)
    assert labelled.tasks == {0: "bad", 1: "good"}
    assert before != [entry.stats["task_index"]["max"].item() for entry in labelled.entries()]
    open_overlay(tmp_path / "over", labelled)


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {})
    holed = PROGRESS.copy()
    holed[7] = np.nan
    with pytest.raises(UserError, match="'value' is nan in episode 2, frame 1 of"):
        write_overlay(tmp_path / "over", folder, {"value": holed})
    with pytest.raises(UserError, match=r"shape \(13,\).*14 frames"):
        write_overlay(tmp_path / "over", folder, {"value": PROGRESS[1:]})
    with pytest.raises(UserError, match=r"task_index 3 .* has no task"):
        write_overlay(tmp_path / "over", folder, {"task_index": np.full(14, 3)}, tasks={0: "a"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("dear")
    with pytest.raises(UserError, match="is no overlay"):
        write_overlay(tmp_path / "mine", folder, {"value": PROGRESS})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set"]


@VERSIONS
@pytest.mark.filterwarnings("ignore:invalid value")  # the writer takes statistics of the NaN
def test_missing_columns_and_nan_name_file_episode_and_frame(tmp_path: Path, version: str) -> None:
    holed = PROGRESS.copy()
    holed[[9, 12]] = np.nan
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": holed}, version=version)
    file = "episode_000002.parquet" if version == "v2.1" else "file-000.parquet"
    with pytest.raises(UserError, match=f"'progress' is nan in episode 2, frame 3 of '.*{file}'"):
        read_column(folder, "progress")
    with pytest.raises(UserError, match=r"episode_000000|file-000.*episode 0, from frame 0 on.* has no column 'value'"):
        read_column(folder, "value")
    with pytest.raises(UserError, match=r"'observation.state' of .* \(episode 0, frame 0\) is"):
        read_column(folder, "observation.state")


def test_a_file_that_fails_is_named(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress": PROGRESS})
    second = legacy_file(tmp_path / "set", 2)
    rewrite_column(second, "progress", np.array([0.5, 0.5, None, 0.5, 0.5, 0.5, 0.5, 0.5]))
    with pytest.raises(UserError, match=r"is empty in episode 2, frame 2 of '.*000002.parquet'"):
        read_column(folder, "progress")
    rewrite_column(second, "progress", None)
    with pytest.raises(UserError, match=r"000002.parquet' \(episode 2, from frame 0 on\) has no column 'progress'"):
        read_columns(folder, ["frame_index", "progress"])
    legacy_file(tmp_path / "set", 1).write_bytes(second.read_bytes())
    with pytest.raises(UserError, match=r"000001.parquet' has 8 rows, not 1: rows go on behind episode 1, frame 0"):
        read_column(folder, "frame_index")
    second.write_bytes(second.read_bytes()[:-9])
    with pytest.raises(UserError, match="000001"):
        read_column(folder, "frame_index")
    legacy_file(tmp_path / "set", 1).unlink()
    with pytest.raises(UserError, match=r"000001.parquet' with the frames of episode 1 is missing"):
        read_column(folder, "frame_index")
    legacy_file(tmp_path / "set", 0).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"000000.parquet' with the frames of episode 0 is corrupt"):
        read_column(folder, "frame_index")
