"""Finished games on disk: whole, readable, and never half."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, sweep_temporaries
from hitl_ops.records.round_games import (
    PICTURES_FILE,
    RESULT_FILE,
    STEPS_FILE,
    list_round_games,
    read_round_game,
    write_round_game,
)
from tests.support.round_games import made_game, made_result, made_steps, pictures_of, write_games_for_ever


def test_round_trip(tmp_path: Path) -> None:
    written = made_game(tmp_path, labels=("a", None, "b"))
    read = read_round_game(tmp_path / "bc-00-0000")
    assert (read.steps, read.result, read.name) == (written.steps, written.result, written.name)
    np.testing.assert_array_equal(read.pictures(), pictures_of(3))
    np.testing.assert_array_equal(read.pictures([2, 0]), pictures_of(3)[[2, 0]])
    assert read.step_id(2) == "bc/00/0000/002"
    assert [step.agrees for step in read.steps] == [True, None, False]
    assert read.result.agreement == 0.5


def test_games_come_in_order_and_leftovers_are_passed_over(tmp_path: Path) -> None:
    for round_number, game in ((10, 0), (2, 11), (2, 3)):
        made_game(tmp_path, round_number=round_number, game=game)
    made_game(tmp_path, phase="dpo")
    (tmp_path / f"bc-00-0001{TEMPORARY_MARK}ab").mkdir()
    (tmp_path / "notes").mkdir()
    assert [path.name for path in list_round_games(tmp_path, "bc")] == ["bc-02-0003", "bc-02-0011", "bc-10-0000"]
    assert len(list_round_games(tmp_path)) == 4
    assert list_round_games(tmp_path / "nowhere") == []


def test_what_does_not_belong_together_is_not_written(tmp_path: Path) -> None:
    steps, result = made_steps(("a", "b")), made_result(made_steps(("a", "b")))
    wrong: list[tuple[Any, Any]] = [
        (steps, pictures_of(3)),
        (steps, pictures_of(2).astype(np.float32)),
        (steps, pictures_of(2)[..., :1]),
        (steps[:1], pictures_of(1)),
        (steps[::-1], pictures_of(2)),
    ]
    for some, pictures in wrong:
        with pytest.raises(ValueError):
            write_round_game(tmp_path, some, pictures, result)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [STEPS_FILE, PICTURES_FILE, RESULT_FILE])
@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_damage_is_told_in_one_line(tmp_path: Path, name: str, damage: str) -> None:
    folder = made_game(tmp_path, labels=("a", "b")).folder
    file = folder / name
    if damage == "gone":
        file.unlink()
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:-30])
    else:
        file.write_bytes(b'{"step": 0}\n')
    with pytest.raises(UserError, match=str(folder)) as told:
        read_round_game(folder).pictures()
    assert "\n" not in str(told.value)


def test_a_step_that_is_missing_or_a_renamed_folder_is_told(tmp_path: Path) -> None:
    folder = made_game(tmp_path, labels=("a", "b")).folder
    lines = (folder / STEPS_FILE).read_text().splitlines()
    (folder / STEPS_FILE).write_text(lines[1] + "\n")
    with pytest.raises(UserError, match="1 steps, its result says 2"):
        read_round_game(folder)
    with pytest.raises(UserError, match="not number 7"):
        made_game(tmp_path, game=1).pictures([7])
    (tmp_path / "bc-00-0001").rename(tmp_path / "bc-00-0002")
    with pytest.raises(UserError, match="another game's name"):
        read_round_game(tmp_path / "bc-00-0002")


@pytest.mark.integration
def test_killed_writers_leave_whole_games_only(tmp_path: Path) -> None:
    draw = random.Random(3)
    for number in range(6):
        folder = tmp_path / str(number)
        process = multiprocessing.get_context("spawn").Process(target=write_games_for_ever, args=(folder,))
        process.start()
        while not list_round_games(folder):
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join()
        found = list_round_games(folder)
        for game in found:
            assert read_round_game(game).pictures().shape == (30, 64, 64, 3)
        sweep_temporaries(folder)
        assert sorted(folder.iterdir()) == sorted(found)


def test_whatever_an_agent_writes_is_read_back(tmp_path: Path) -> None:
    odd = 'one\u2028two\x85three\x1c\ttab "quoted" \\ \U0001f600'
    made_game(tmp_path, ("b", "b"), agent_action=odd)
    assert [step.agent_action for step in read_round_game(tmp_path / "bc-00-0000").steps] == [odd, odd]
