"""``flywheel progress`` on small data sets: what people said becomes an overlay, and mistakes a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flywheel.cli import run
from hitl_ops.experts.scripted_marker import ScriptedMarkerConfig, keep_scripted_marks, mark_dataset
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.records.lerobot_overlay import open_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from hitl_ops.rollouts.demonstrations import DemonstrationsConfig, record_demonstrations
from hitl_ops.samples.progress_rules import marks_progress
from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset
from tests.support.lerobot_sets import make_set
from tests.support.station_verdicts import say_of_episode


@pytest.mark.slow
def test_marks_and_verdicts_of_the_store_become_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FLYWHEEL_LABELS_URL", raising=False)
    record_demonstrations(
        DemonstrationsConfig(episodes=2, noises=(0.0,), world_options={"cameras": []}, processes=1), tmp_path / "demo"
    )
    dataset = tmp_path / "set"
    build_station_dataset(tmp_path / "demo" / "raw", dataset, StationDatasetConfig(prompts="plain", unlabelled="keep"))
    words = ["progress", str(dataset), "--out", str(tmp_path / "over")]
    assert run(words) == 2
    assert "episode 0 is not marked (2 of 2 are not): mark it: flywheel mark-progress" in capsys.readouterr().err

    labels = LabelStore.open(f"sqlite:///{tmp_path / 'home' / 'labels.db'}")
    for _ in range(2):  # said again, nothing is added
        assert keep_scripted_marks(labels, dataset, seconds_each=12.0) == 2
    assert len(labels.labels("progress", superseded=True)) == 2
    assert run(words) == 0
    assert "stage 4 of 4 reached" in capsys.readouterr().out
    folder = open_lerobot(dataset)
    expected = [marks_progress(marks, entry.length, 4) for entry, marks in mark_dataset(dataset)]
    written = open_overlay(tmp_path / "over", folder).column("stage_progress_gt")
    np.testing.assert_array_equal(written, np.concatenate(expected))
    assert written[-1] == 1
    keep_scripted_marks(labels, dataset, ScriptedMarkerConfig(stages=("held", "lifted")), annotator="another")
    assert run(words) == 2 and "marked with 2 stages, not 4" in capsys.readouterr().err
    assert run([*words, "--stages", "2"]) == 0

    for entry, said in zip(folder.entries(), ("good", "bad"), strict=True):
        say_of_episode(labels, str(entry.facts["episode_id"]), said, epoch=0)
    labels.close()
    assert run([*words, "--source", "verdicts"]) == 0
    verdicts = open_overlay(tmp_path / "over", folder).column("progress_gt")
    assert verdicts.max() == 1 and verdicts[-1] == pytest.approx(0.5, abs=0.01), "the second was bad"
    assert run([*words, "--source", "verdicts", "--label", "1=good"]) == 0
    assert open_overlay(tmp_path / "over", folder).column("progress_gt")[-1] == 1, (
        "the command line's word counts first"
    )


def test_a_column_and_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    folder = make_set(tmp_path / "set", (10, 5), {"how_far": np.linspace(0, 1, 15)})
    words = ["progress", str(folder.root), "--out", str(tmp_path / "over"), "--source", "column"]
    assert run([*words, "--column", "how_far"]) == 0
    assert open_overlay(tmp_path / "over", folder).column("progress_gt")[-1] == 1
    capsys.readouterr()
    for more, said in (
        ([], "no column 'stage_progress_gt'"),
        (["--label", "0=good"], "--label gives verdicts"),
        (["--stages", "0"], "'stages' is invalid"),
        (["--set", "colum=x"], "did you mean 'column'?"),
    ):
        assert run([*words, *more]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    assert run(["mark-progress", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert run(["mark-progress", str(folder.root), "--stage", "a", "--stages", "3"]) == 2
    assert "3 stages and 1 names" in capsys.readouterr().err
