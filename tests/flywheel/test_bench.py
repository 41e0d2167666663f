"""Benchmarks by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel import bench as verb
from hitl_ops.contracts.errors import UserError

ROWS = """
from concurrent.futures import ProcessPoolExecutor

def square(x):
    return x * x

def bench():
    print("a library that talks")
    with ProcessPoolExecutor(1) as pool:
        measured = pool.submit(square, 3).result()
    return [
        {"metric": "speed", "unit": "1/s", "ours": measured, "reference": 3.0, "reference_name": "theirs",
         "ratio": 3.0, "target": 2.0, "holds": True},
        {"metric": "alone", "unit": "s", "ours": 0.5, "reference": None, "reference_name": None,
         "ratio": None, "target": None, "holds": None},
    ]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "benchmarks"
    place.mkdir()
    (place / "speed.py").write_text(ROWS)
    (place / "_shared.py").write_text("")
    monkeypatch.setattr(verb, "BENCHMARKS", place)
    return place


def test_json_is_all_that_reaches_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb.bench("speed", as_json=True)
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [row["ours"] for row in rows] == [9, 0.5]
    assert "a library that talks" in printed.err


@pytest.mark.parametrize("name", ["two-words", "two_words"])
def test_a_name_of_two_words_may_be_written_either_way(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "speed.py").rename(folder / "two_words.py")
    verb.bench(name, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["ours"] == 9


def test_the_table_shows_every_figure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verb.bench("speed")
    table = capsys.readouterr().out
    for text in ("speed", "alone", "theirs", "9", "0.5", "yes"):
        assert text in table


@pytest.mark.parametrize("name", ["sped", "_shared", "../speed", ""])
def test_an_unknown_name_lists_the_known(folder: Path, name: str) -> None:
    with pytest.raises(UserError) as error:
        verb.bench(name)
    assert error.value.remedy == "choose one of speed"


def test_without_the_folder_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "BENCHMARKS", tmp_path / "nowhere")
    with pytest.raises(UserError, match="benchmarks/ is not installed"):
        verb.bench("speed")


def test_a_missing_library_names_the_extra(folder: Path) -> None:
    (folder / "speed.py").write_text("import no_such_library_at_all")
    with pytest.raises(UserError, match="no_such_library_at_all") as error:
        verb.bench("speed")
    assert "[bench]" in error.value.remedy


def test_a_row_of_another_form_is_a_defect(folder: Path) -> None:
    (folder / "speed.py").write_text("def bench():\n    return [{'metric': 'speed'}]")
    with pytest.raises(ValueError, match="metric"):
        verb.bench("speed")
