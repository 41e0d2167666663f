"""``flywheel lineage``, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from tests.support.taught_store import taught_store


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are not folded."""
    monkeypatch.setenv("COLUMNS", "220")


def test_a_lineage_is_printed_and_written(own_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taught = taught_store(Store.at(own_store))
    page = tmp_path / "lineage.html"
    assert run(["lineage", "1", "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert f"lineage of {taught.policies[1]}" in said and taught.policies[0] in said
    assert "10 different samples of 3 episodes; 3 labels by 2 annotators; 2 plays in 2 sessions of 2 people" in said
    assert "2.8 minutes" in said and said.splitlines()[-1] == str(page)
    assert taught.plays[0].id in page.read_text()

    assert run(["lineage", taught.policies[1], "--json", "--root", str(own_store)]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["policy_id"] == taught.policies[1] and len(body["labels"]) == 3


def test_what_came_of_somebody_is_printed(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taught = taught_store(Store.at(own_store))
    assert run(["lineage", "--play", taught.plays[0].id]) == 0
    said = capsys.readouterr().out
    assert taught.policies[1] in said and taught.policies[2] in said and taught.policies[0] not in said
    assert run(["lineage", "--play", taught.plays[2].id]) == 0
    assert capsys.readouterr().out == f"no policy has a part of play {taught.plays[2].id}\n"
    assert run(["lineage", "--annotator", taught.annotator, "--json"]) == 0
    assert [one["policy_id"] for one in json.loads(capsys.readouterr().out)] == taught.policies[1:]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: name one thing"),
        (["1", "--play", "x"], "error: name one thing"),
        (["--play", "x", "--page", "p.html"], "error: --page shows a policy's lineage"),
        (["serving"], "error: no policy of 'planner' is called 'serving': known: none"),
        (["--label", "x"], "error: label 'x' is not a number"),
    ],
)
def test_mistakes_end_in_a_line_and_make_no_database(
    words: list[str], line: str, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lineage", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(line)
    assert not (own_store / "labels.db").exists()
