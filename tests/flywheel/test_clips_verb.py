"""``flywheel clips`` by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import Store
from hitl_ops.records.clips import open_clip_set
from tests.support.station_recordings import record, robot


def recorded(root: Path) -> Store:
    store = Store.at(root)
    for epoch in range(2):
        for number in range(3):
            path = EpochFolder(store.station_incoming, "lid", epoch).episode(number)
            record(path, 40, spec=robot("cam_high", size=(16, 16)), seed=3 * epoch + number, aborted=number == 2)
    return store


def test_an_epochs_clips_lie_in_its_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path))
    store = recorded(tmp_path)
    assert run(["clips", "--program", "station", "-i", "1", "--pairs", "2", "--set", "seconds=0.4"]) == 0
    folder = store.iteration("station", 1).clips
    found = open_clip_set(folder)
    assert all("epoch_1/" in facts.record and facts.steps == 20 for facts in found.facts.clips)
    assert len(found.clips) == 4 and len(found.pairs) == 2
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "left out: 'station/incoming/lid/epoch_1/raw/episode_2.hdf5' was broken off (stopped)",
        f"4 clips, 2 pairs: {folder}",
    ]
    assert run(["clips", "--program", "station", "--seed", "4", "--out", str(tmp_path / "all")]) == 0
    both = open_clip_set(tmp_path / "all")
    assert len(both.clips) == 4 and both.facts.made["config"]["seed"] == 4
    assert len(both.pairs) == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--program", "station"], "there are no such recordings"),
        (["--program", "planner"], "no episode has two different plays"),
        (["--program", "dagger"], "is not one of 'planner'"),
        (["--program", "station", "--set", "secunds=3"], "did you mean 'seconds'?"),
        ([], "--program"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert run(["clips", *words, "--root", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.rglob("clips.json"))
