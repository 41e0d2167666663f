"""``flywheel replay``: the recorded end, or one line that says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import SessionLogWriter, log_path, sealed
from hitl_ops.rollouts.session_closing import close_play
from tests.support.plays import Player, header


@pytest.fixture
def folder() -> Path:
    """A session in the store with a closed play and one that is not over."""
    folder = Store.from_environment().iteration("planner", 2).sessions / "0a1b"
    for play_id in ("p1", "p2"):
        head = header(play_id)
        with SessionLogWriter.create(log_path(folder, play_id), head) as writer:
            player = Player(head, writer=writer)
            player.keys(forward=1.0)
            player.run(20)
            player.act("Navigate[mug_1]")
            player.run(20)
            player.mark()
            if play_id == "p1":
                player.finish()
    close_play(log_path(folder, "p1"))
    return folder


def test_a_session_is_named_by_id_folder_or_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("0a1b", str(folder), str(folder / "p1.log.jsonl.gz")):
        assert run(["replay", what]) == 0
        out, err = capsys.readouterr()
        assert "p1  40 ticks  0% complete  state " in out
        assert "as recorded" in out
        assert ("not finished" in out) == (not what.endswith("gz"))
        assert not err


def test_another_end_is_told_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    player = Player(header("p3"))
    player.run(9)
    end = player.finish("time").model_copy(update={"state_hash": "0" * 16})
    path = log_path(folder, "p3")
    path.write_bytes(b"".join(sealed(row.model_dump_json()) for row in [player.header, end]))
    for what in ("0a1b", str(path)):
        assert run(["replay", what]) == 2
        out, err = capsys.readouterr()
        assert "DIFFERS" in out
        assert err.count("\n") == 1
        assert f"play p3 ends differently: its state is {player.session.digest()} where the log says 0000" in err


@pytest.mark.parametrize("what", ["0a1c", "../..", "*", "/", "nothing.log.jsonl"])
def test_what_is_no_session_is_told(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", what]) == 2
    _, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_damaged_log_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "p2.log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"forward":1.0', b'"forward":0.9'))
    assert run(["replay", str(path)]) == 2
    assert "line 2: is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_a_play_is_filmed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "play.mp4"
    assert run(["replay", str(folder / "p1.log.jsonl.gz"), "--video", str(video)]) == 0
    assert video.read_bytes()[4:8] == b"ftyp"
    assert str(video) in capsys.readouterr().out
