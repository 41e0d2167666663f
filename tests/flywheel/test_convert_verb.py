"""``flywheel convert`` by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot
from tests.support.station_recordings import TASK, record


def test_recordings_then_a_second_opinion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, out = tmp_path / "raw", tmp_path / "set"
    record(raw / "a.hdf5", 5)
    record(raw / "b.hdf5", 6, label=None, seed=1)
    record(raw / "c.hdf5", 7, seed=2)
    assert (
        run(["convert", str(raw), str(out), "--label", "b.hdf5=bad", "--exclude", "c.hdf5", "--set", "task=Wave"]) == 0
    )
    told = capsys.readouterr().out
    assert "2 (1 good, 1 bad)" in told
    assert "excluded" in told
    assert [entry.tasks for entry in open_lerobot(out).entries()] == [
        ["Wave, Advantage=True"],
        ["Wave, Advantage=False"],
    ]
    assert run(["convert", str(out), "--label", "0=bad", "--exclude", "1"]) == 0
    check_dataset(out)
    assert [entry.tasks for entry in open_lerobot(out).entries()] == [["Wave, Advantage=False"]]
    assert (out / "norm_stats.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["raw"], "where to is missing"),
        (["raw", "out", "--label", "a.hdf5=fine"], "label 'a.hdf5=fine' is malformed"),
        (["raw", "out", "--set", "video.codek=h264"], "video.codek"),
        (["nowhere", "out"], "does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    record(Path("raw/a.hdf5"), 3, task=TASK)
    assert run(["convert", *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not Path("out").exists()
