"""Labelling data sets changes what it says it changes; what fails, and a kill, leaves them as they were."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel.cli import run
from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_columns import read_columns
from hitl_ops.records.lerobot_layout import FACTS_PATH
from hitl_ops.records.lerobot_overlay import open_overlay, write_overlay
from hitl_ops.records.lerobot_reading import LeRobotFolder, check_dataset, open_lerobot
from hitl_ops.records.lerobot_stats import feature_stats
from hitl_ops.samples.advantage_labels import AdvantageLabelConfig, AdvantageLabelSummary, label_advantage
from hitl_ops.samples.stage_advantage import label_advantages, progress_advantage, stages_of
from tests.support.dataset_labelling_process import SLICED, TWO, label_again_and_again
from tests.support.lerobot_sets import CAMERA, contents, legacy_file, make_set, rewrite_column

LENGTHS = (60, 1, 80)
PROMPTS = ["fold the cloth, Advantage: negative", "fold the cloth, Advantage: positive"]
VERSIONS = pytest.mark.parametrize("version", ["v2.1", "v3.0"])


def _columns(seed: int = 3) -> dict[str, npt.NDArray[np.float32]]:
    chance = np.random.default_rng(seed)
    progress = np.concatenate([np.cumsum(chance.random(n)) / n for n in LENGTHS]).astype(np.float32)
    stage = np.concatenate([np.linspace(0, 1, n) for n in LENGTHS]).astype(np.float32)
    return {"progress": progress, "stage_progress_gt": stage}


def _expected(columns: dict[str, npt.NDArray[np.float32]], config: AdvantageLabelConfig) -> npt.NDArray[np.int32]:
    parts = np.split(columns["progress"], np.cumsum(LENGTHS)[:-1])
    advantage = np.concatenate([progress_advantage(part, config.chunk_size) for part in parts])
    stages = stages_of(columns["stage_progress_gt"], config.stage_nums) if config.stage_nums > 1 else None
    return label_advantages(
        advantage,
        stages,
        discretion=config.discretion_type,
        threshold=config.threshold,
        n_slices=config.n_slices,
        stage_nums=config.stage_nums,
    )[0]


def _labels(folder: LeRobotFolder) -> npt.NDArray[Any]:
    return read_columns(folder, ["task_index"])["task_index"]


def _tables(root: Path) -> dict[str, pa.Table]:
    return {str(path.relative_to(root)): pq.read_table(path) for path in sorted((root / "data").rglob("*.parquet"))}


@VERSIONS
def test_in_place_changes_the_tasks_and_nothing_else(tmp_path: Path, version: str) -> None:
    root, columns = tmp_path / "set", _columns()
    make_set(root, LENGTHS, columns, version=version, videos=True)
    (root / "notes").mkdir()
    (root / "notes/letter.txt").write_text("dear")
    before, files = _tables(root), contents(root)
    config = AdvantageLabelConfig(threshold=40.0, stage_nums=2)
    summary = label_advantage(root, config)
    check_dataset(root)
    labels = _expected(columns, config)
    folder = open_lerobot(root)
    np.testing.assert_array_equal(_labels(folder), labels)
    assert folder.tasks == dict(enumerate(PROMPTS))
    assert folder.info.total_tasks == 2
    for name, table in _tables(root).items():
        number = table.column_names.index("task_index")
        # Field for field and note for note: fixed-size lists, `huggingface` and whatever else stood in the schema.
        kind = pa.int32() if version == "v2.1" else pa.int64()
        old = before[name].schema
        assert table.schema.equals(old.set(number, old.field(number).with_type(kind)), check_metadata=True)
        assert table.remove_column(number).equals(before[name].remove_column(number), check_metadata=True)
    after = contents(root)
    assert after.keys() == files.keys()
    changed = {name for name in files if files[name] != after[name] and not name.startswith("data/")}
    told = {"meta/info.json"}
    if version == "v2.1":
        told |= {"meta/tasks.jsonl", "meta/episodes.jsonl", "meta/episodes_stats.jsonl"}
    else:
        told |= {"meta/tasks.parquet", "meta/stats.json", "meta/episodes/chunk-000/file-000.parquet"}
    assert changed == told
    assert summary.result == str(root)
    assert (summary.mode, summary.tasks, summary.frames, summary.episodes) == ("in place", PROMPTS, 141, 3)
    assert summary.labels == [int((labels == 0).sum()), int(labels.sum())]
    assert summary.share_positive == pytest.approx(labels.mean())
    assert [stage.frames for stage in summary.stages] == np.bincount(
        stages_of(columns["stage_progress_gt"], 2)
    ).tolist()
    assert sorted(path.name for path in tmp_path.iterdir() if "clip" not in path.name) == ["set"]


@VERSIONS
def test_what_is_said_of_episodes_agrees_with_their_labels(tmp_path: Path, version: str) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns(), version=version)
    kept = {entry.index: entry.stats["action"] for entry in open_lerobot(root).entries()}
    label_advantage(root, AdvantageLabelConfig(discretion_type="n_slices", n_slices=4))
    labels, start = _labels(open_lerobot(root)).astype(np.int64), 0
    for entry in open_lerobot(root).entries():
        own = labels[start : start + entry.length]
        start += entry.length
        assert entry.tasks == [f"fold the cloth, Advantage: {label}" for label in dict.fromkeys(own.tolist())]
        for name, value in feature_stats(own).items():
            if version == "v3.0" or not name.startswith("q"):
                np.testing.assert_allclose(entry.stats["task_index"][name], value, err_msg=name)
        for name, value in kept[entry.index].items():
            np.testing.assert_array_equal(entry.stats["action"][name], value)
    if version == "v3.0":
        total = json.loads((root / "meta/stats.json").read_text())["task_index"]
        assert total["min"], total["max"] == ([0], [3])
        assert total["mean"] == pytest.approx([labels.mean()])
        assert total["count"] == [len(labels)]


def test_row_groups_compression_and_notes_of_others_stay(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns())
    file = legacy_file(root, 2)
    table = pq.read_table(file)
    field = table.schema.field("action").with_metadata({"unit": "rad"})
    schema = table.schema.set(table.column_names.index("action"), field)
    table = table.cast(schema.with_metadata({**(schema.metadata or {}), b"mine": b"\xff note"}))
    pq.write_table(table, file, compression="zstd", row_group_size=30)
    label_advantage(root)
    again = pq.ParquetFile(file)
    assert [again.metadata.row_group(n).num_rows for n in range(again.metadata.num_row_groups)] == [30, 30, 20]
    assert again.metadata.row_group(0).column(0).compression == "ZSTD"
    assert again.schema_arrow.metadata == table.schema.metadata
    assert again.schema_arrow.field("action").equals(table.schema.field("action"), check_metadata=True)


@VERSIONS
def test_a_new_data_set_links_the_videos_and_leaves_the_old_one(tmp_path: Path, version: str) -> None:
    root, out = tmp_path / "set", tmp_path / "labelled"
    make_set(root, LENGTHS, _columns(), version=version, videos=True)
    before = contents(root)
    summary = label_advantage(root, out=out)
    assert contents(root) == before
    assert (summary.mode, summary.result) == ("new data set", str(out))
    check_dataset(out)
    np.testing.assert_array_equal(_labels(open_lerobot(out)), _expected(_columns(), AdvantageLabelConfig()))
    clips = sorted(path.relative_to(root) for path in root.rglob("*.mp4"))
    assert len(clips) == len(LENGTHS)
    assert all((root / clip).samefile(out / clip) for clip in clips)
    # Once more over what is there now; something else is not replaced.
    label_advantage(root, TWO, out=out)
    np.testing.assert_array_equal(_labels(open_lerobot(out)), _expected(_columns(), TWO))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter").write_text("dear")
    with pytest.raises(UserError, match="is no LeRobot data set"):
        label_advantage(root, out=tmp_path / "mine")
    with pytest.raises(UserError, match="one in the other"):
        label_advantage(root, out=root / "labelled")


def test_links_to_shared_folders_stay_links_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    raw, root = tmp_path / "raw", tmp_path / "set"
    make_set(raw, LENGTHS, _columns(), videos=True)
    before = contents(raw)
    root.mkdir()
    for name in ("data", "videos"):
        (root / name).symlink_to(Path("..") / "raw" / name)
    (root / "meta").mkdir()
    for file in (raw / "meta").iterdir():
        (root / "meta" / file.name).symlink_to(file)
    label_advantage(root)
    label_advantage(root, TWO, out=tmp_path / "far" / "labelled")
    assert contents(raw) == before
    assert (root / "videos").readlink() == Path("../raw/videos")
    for folder, config in ((root, AdvantageLabelConfig()), (tmp_path / "far/labelled", TWO)):
        check_dataset(folder)
        np.testing.assert_array_equal(_labels(open_lerobot(folder)), _expected(_columns(), config))


@VERSIONS
def test_an_overlay_leaves_the_data_set_untouched(tmp_path: Path, version: str) -> None:
    root = tmp_path / "set"
    folder = make_set(root, LENGTHS, _columns(), version=version)
    before = contents(root)
    summary = label_advantage(root, overlay=tmp_path / "over")
    assert contents(root) == before
    overlay = open_overlay(tmp_path / "over", folder)
    assert overlay.tasks == dict(enumerate(PROMPTS))
    assert overlay.facts.columns == {"task_index": "int32"}
    assert overlay.facts.made["config"]["threshold"] == 70.0
    np.testing.assert_array_equal(overlay.column("task_index"), _expected(_columns(), AdvantageLabelConfig()))
    assert summary.mode == "overlay"
    with pytest.raises(UserError, match="at once"):
        label_advantage(root, overlay=tmp_path / "over", out=tmp_path / "out")


@pytest.mark.parametrize("source", ["absolute_advantage", "relative_advantage", "progress"])
def test_sources_may_come_from_overlays(tmp_path: Path, source: Any) -> None:
    folder = make_set(tmp_path / "set", LENGTHS, {"progress_gt": np.zeros(sum(LENGTHS), np.float32)})
    values = np.random.default_rng(1).normal(size=sum(LENGTHS)).astype(np.float32)
    write_overlay(tmp_path / "older", folder, {source: np.zeros_like(values)})
    write_overlay(tmp_path / "newer", folder, {source: values})
    config = AdvantageLabelConfig(advantage_source=source, threshold=25.0)
    overlays = [tmp_path / "older", tmp_path / "newer"]
    label_advantage(tmp_path / "set", config, overlays=overlays, overlay=tmp_path / "labels")
    labels = open_overlay(tmp_path / "labels", folder).column("task_index")
    if source == "progress":
        np.testing.assert_array_equal(labels, _expected({"progress": values}, config))
        with pytest.raises(UserError, match=r"episode_000000.*no column 'progress'"):
            label_advantage(tmp_path / "set")
        # Another column of progress counts only where it is named.
        summary = label_advantage(tmp_path / "set", AdvantageLabelConfig(progress_column="progress_gt"), dry_run=True)
        assert summary.share_positive == 1.0
    else:
        np.testing.assert_array_equal(labels, values >= np.percentile(values.astype(np.float64), 75.0))


def test_the_task_is_the_data_sets_own_or_the_one_that_is_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns(), task="open the box, Advantage=True")
    assert label_advantage(root, dry_run=True).task == "open the box"
    label_advantage(root, AdvantageLabelConfig(task="fold the cloth"))
    assert open_lerobot(root).tasks == dict(enumerate(PROMPTS))
    label_advantage(root, SLICED)  # once more, of what labels left
    assert list(open_lerobot(root).tasks.values()) == [f"fold the cloth, Advantage: {n}" for n in range(5)]
    with (root / "meta/tasks.jsonl").open("a") as file:
        file.write(json.dumps({"task_index": 5, "task": "rest"}) + "\n")
    with pytest.raises(UserError, match=r"has 2 tasks .*--task TEXT"):
        label_advantage(root)


@pytest.mark.slow  # draws
def test_a_dry_run_writes_nothing_but_its_picture(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns())
    before = contents(root)
    summary = label_advantage(root, AdvantageLabelConfig(stage_nums=3), plot=tmp_path / "histograms.png", dry_run=True)
    assert contents(root) == before
    assert (summary.mode, summary.result) == ("dry run", None)
    assert AdvantageLabelSummary.model_validate_json(summary.model_dump_json()) == summary
    assert (tmp_path / "histograms.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["histograms.png", "set"]


def _with(column: str, frame: int, value: float) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        values = pq.read_table(legacy_file(root, 2)).column(column).to_numpy().copy()
        values[frame] = value
        rewrite_column(legacy_file(root, 2), column, values)

    return spoil


FAILURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN": (_with("progress", 7, np.nan), r"'progress' is nan in episode 2, frame 7 of '.*episode_000002\.parquet'"),
    "stage out of range": (_with("stage_progress_gt", 9, 1.5), r"is 1\.5 in episode 2, frame 9 of '.*set'"),
    "no progress": (
        lambda root: rewrite_column(legacy_file(root, 1), "progress", None),
        r"000001\.parquet' \(episode 1, from frame 0 on\) has no column 'progress'",
    ),
    "no task_index, found while writing": (
        lambda root: rewrite_column(legacy_file(root, 2), "task_index", None),
        r"000002\.parquet' \(episode 2, from frame 0 on\) has no column 'task_index'",
    ),
    "corrupt": (
        lambda root: legacy_file(root, 2).write_bytes(legacy_file(root, 2).read_bytes()[:200]),
        r"000002\.parquet' with the frames of episode 2 is corrupt",
    ),
    "missing": (lambda root: legacy_file(root, 2).unlink(), r"000002\.parquet' .* episode 2 is missing"),
    "statistics corrupt": (
        lambda root: (root / "meta/episodes_stats.jsonl").write_text('{"episode_index": 0}\n'),
        r"episodes_stats\.jsonl' is corrupt",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_is_named_and_the_data_set_stays(tmp_path: Path, failure: str) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns(), videos=True)
    spoil, told = FAILURES[failure]
    spoil(root)
    before = contents(root)
    with pytest.raises(UserError, match=told):
        label_advantage(root, AdvantageLabelConfig(stage_nums=2))
    assert contents(root) == before
    with pytest.raises(UserError, match=told):
        label_advantage(root, AdvantageLabelConfig(stage_nums=2), out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_damage_within_a_file_is_named_and_the_data_set_stays(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns())
    file = legacy_file(root, 2)
    spoilt = bytearray(file.read_bytes())
    spoilt[4:12] = b"\xff" * 8  # a page of the state: nothing is seen of it before the file is written anew
    file.write_bytes(bytes(spoilt))
    before = contents(root)
    with pytest.raises(UserError, match=r"000002\.parquet' with the frames of episode 2 is corrupt"):
        label_advantage(root)
    assert contents(root) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
    with pytest.raises(UserError, match=r"000002\.parquet' is corrupt"):
        check_dataset(root)


@pytest.mark.slow  # draws
def test_the_verb_prints_the_figures_and_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns())
    over = tmp_path / "over"
    assert run(["label-advantage", str(root), "--stage-nums", "2", "--overlay", str(over), "--threshold", "30"]) == 0
    said = capsys.readouterr().out
    assert "stage 1" in said
    assert "Advantage: positive" in said
    assert "30.00% asked for" in said
    assert said.strip().endswith(str(over))
    assert (tmp_path / "over-advantage.png").is_file()
    arguments = ["--with", str(over), "--discretion-type", "n_slices", "--task", "rest", "--dry-run"]
    assert run(["label-advantage", str(root), *arguments]) == 0
    assert "rest, Advantage: 9" in capsys.readouterr().out
    assert run(["label-advantage", str(root), "--progress-column", "value"]) == 2
    assert "(episode 0, from frame 0 on) has no column 'value'" in capsys.readouterr().err
    assert run(["label-advantage", str(root), "--threshold", "170"]) == 2
    assert "'threshold' is invalid" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.integration
@VERSIONS
def test_a_kill_leaves_the_old_labels_or_the_new_ones(tmp_path: Path, version: str) -> None:
    root, columns = tmp_path / "set", _columns()
    make_set(root, LENGTHS, columns, version=version, videos=version == "v2.1")
    label_advantage(root, TWO)
    expected = {2: _expected(columns, TWO), 5: _expected(columns, SLICED)}
    chance = random.Random(11)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.dataset_labelling_process"])
    for _ in range(4):
        process = processes.Process(target=label_again_and_again, args=(root,))
        process.start()
        started = time.monotonic()
        before = root.stat().st_ino
        while root.stat().st_ino == before:  # it is up, and labels over and over
            assert time.monotonic() - started < 60
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        check_dataset(root)
        folder = open_lerobot(root)
        np.testing.assert_array_equal(_labels(folder), expected[len(folder.tasks)])
    label_advantage(root, TWO)
    left = [path.name for path in tmp_path.iterdir() if "clip" not in path.name and path.name != "flywheel-home"]
    assert left == ["set"]


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
        datasets.disable_progress_bars()
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_lerobot_opens_what_was_labelled(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path / "set"
    make_set(root, LENGTHS, _columns(), version="v3.0")
    label_advantage(root, TWO)
    opened = LeRobotDataset("flywheel/test", root=root)
    labels = _expected(_columns(), TWO)
    assert [opened[n]["task"] for n in range(len(opened))] == [PROMPTS[label] for label in labels]
    assert opened.meta.total_tasks == 2
    assert opened.meta.stats["task_index"]["mean"] == pytest.approx(labels.mean())
    assert list(opened.meta.episodes[1]["tasks"]) == [PROMPTS[labels[60]]]
    assert CAMERA not in opened.meta.features
    assert (root / FACTS_PATH).is_file()
