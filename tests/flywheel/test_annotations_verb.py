"""``flywheel annotations`` and ``flywheel forget``: corrections out and in, and a play taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.records.session_export import SESSION_FILE, read_session_file
from hitl_ops.rollouts.session_closing import close_session
from tests.support.annotations import another, made_in, mark, said_in
from tests.support.collected_plays import Collected
from tests.support.plays import Player, small_episode


def _looks_around(player: Player) -> None:
    player.partner_does("Explore[kitchen_1]")


@pytest.fixture
def collected() -> tuple[Collected, EpisodePlay]:
    """A play in the store, with one correction."""
    people = Collected(Store.from_environment(), iteration=2)
    play = people.play(small_episode(), through=_looks_around)
    mark(people, play, made_in(people, play)[0])
    return people, play


def test_corrections_go_out_and_come_in(
    collected: tuple[Collected, EpisodePlay], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, play = collected
    file = tmp_path / "annotations.json"
    assert run(["annotations", "export", str(file), "--iteration", "2"]) == 0
    assert capsys.readouterr().out == f"1 annotations of 1 plays: {file}\n"
    assert run(["annotations", "import", str(file), "-i", "2", "--annotator", "dan"]) == 0
    assert "1 annotations added, 0 known already, 0 refused" in capsys.readouterr().out
    assert run(["annotations", "import", str(file), "-i", "2", "--annotator", "dan"]) == 0
    assert "0 annotations added, 1 known already" in capsys.readouterr().out
    (said,) = said_in(people).plays[play.id].decisions.values()
    assert sorted(said) == ["dan", "eva"] and said["dan"].corrected == another(made_in(people, play)[0])


def test_what_fits_no_record_is_told_at_the_end(
    collected: tuple[Collected, EpisodePlay], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "annotations.json"
    entry = {"timestep": 9, "original_action": "Wait", "corrected_action": "Done"}
    file.write_text(json.dumps({"bring_the_mug": [entry]}))
    assert run(["annotations", "import", str(file), "-i", "2"]) == 2
    out, err = capsys.readouterr()
    assert "refused: bring_the_mug, annotation 0: the policy did not choose Wait[] at timestep 9" in out
    *_, last = err.splitlines()
    assert last == f"error: 1 annotations of '{file}' fit no record: see the lines above"


def test_a_play_is_forgotten_and_counts_again(
    collected: tuple[Collected, EpisodePlay], capsys: pytest.CaptureFixture[str]
) -> None:
    people, play = collected
    assert run(["forget", play.id, "--reason", "asked for it", "--by", "ann"]) == 0
    assert f"play {play.id} of iteration 002 of 'planner' counts nowhere" in capsys.readouterr().out
    assert people.labels.finished_plays("planner", 2) == []
    (kept,) = people.labels.finished_plays("planner", 2, withdrawn=True)
    assert (kept.withdrawn_by, kept.withdrawn_reason) == ("ann", "asked for it")
    assert all(file.is_file() for file in people.files(play).values())
    assert run(["forget", play.id, "--undo"]) == 0
    assert "counts again" in capsys.readouterr().out
    assert people.labels.finished_plays("planner", 2) == [play]


def test_its_records_go_with_it_where_asked(
    collected: tuple[Collected, EpisodePlay], capsys: pytest.CaptureFixture[str]
) -> None:
    people, play = collected
    stays = people.play(small_episode(), attempt=2, through=_looks_around)
    summary = people.sessions / play.session_id / SESSION_FILE
    close_session(summary.parent)
    assert len(read_session_file(summary).episodes) == 2
    film = people.sessions / "videos" / f"{play.id}.mp4"
    film.parent.mkdir()
    film.write_bytes(b"a film")
    assert run(["forget", play.id, "--files"]) == 0
    out = capsys.readouterr().out
    gone = [film, *people.files(play).values()]
    assert all(f"deleted {file}" in out and not file.exists() for file in gone)
    assert all(file.is_file() for file in people.files(stays).values())
    assert [row.play_id for row in read_session_file(summary).episodes] == [stays.id]
    assert run(["forget", stays.id, "--files"]) == 0
    assert not summary.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0" * 16], "there is no play"),
        (["p1", "--undo"], "there is no play"),
        (["p1", "--undo", "--files"], "exclude"),
    ],
)
def test_what_cannot_be_forgotten_is_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["forget", *words]) == 2
    assert said in capsys.readouterr().err
