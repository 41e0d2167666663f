"""The verb that estimates: what it writes, draws and says, and its one line where something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.models.advantage_estimator import EstimatorConfig, EstimatorFacts, build_estimator, save_estimator
from hitl_ops.records.lerobot_overlay import open_overlay
from tests.support.filmed_sets import CAMERAS, FPS, contents, make_filmed_set


@pytest.fixture
def estimator(tmp_path: Path) -> Path:
    facts = EstimatorFacts(
        name="tried", config=EstimatorConfig(image_size=16, features=8, hidden=8, use_state=False), cameras=CAMERAS,
        joints=0, state_mean=(), state_std=(), task="lift the lid", fps=FPS, steps=7,
    )  # fmt: skip
    folder = tmp_path / "estimator"
    folder.mkdir()
    save_estimator(build_estimator(facts, seed=0), folder)
    return folder


@pytest.mark.slow
def test_a_data_set_is_estimated_and_an_episode_drawn(
    estimator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_filmed_set(tmp_path / "set", (8, 6))
    before = contents(folder.root)
    words = ["estimate-advantage", str(estimator), str(folder.root), "--name", "tuned", "--delta", "3"]
    shown = ["--show", "1", "--films", str(tmp_path / "films"), "--set", "batch_size=4"]
    assert run([*words, *shown]) == 0
    told = capsys.readouterr()
    place = tmp_path / "set_tuned_7"
    drawn = [tmp_path / f"films/set_tuned_7_episode_000001{end}" for end in (".png", ".mp4")]
    assert told.out.splitlines()[-3:] == [str(path) for path in (*drawn, place)]
    assert "14/14" in told.err
    assert all(path.stat().st_size > 1000 for path in drawn)
    made = open_overlay(place, folder).facts.made
    assert made["settings"] | {"device": "cpu"} == {
        "delta": 3, "batch_size": 4, "precision": "float32", "device": "cpu",
    }  # fmt: skip
    assert contents(folder.root) == before
    assert run([*words, "--set", "batch_size=4"]) == 0
    assert "2, 0 of them now" in capsys.readouterr().out


def test_what_is_wrong_is_one_line(estimator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_filmed_set(tmp_path / "set", (4,))
    assert run(["estimate-advantage", str(estimator), str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["estimate-advantage", str(estimator), str(folder.root), "--name", "../up"]) == 2
    assert "'name' is invalid" in capsys.readouterr().err
    next(folder.root.rglob("*.mp4")).unlink()
    assert run(["estimate-advantage", str(estimator), str(folder.root)]) == 2
    assert "of episode 0 is missing" in capsys.readouterr().err.splitlines()[-1]
