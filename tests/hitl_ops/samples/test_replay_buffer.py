"""Replay buffers: what goes in, what comes out, and in which order."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference_pair import PreferencePair
from hitl_ops.records.round_games import read_pictures
from hitl_ops.samples.replay_buffer import BCReplayBuffer, DPOReplayBuffer, pairs_from_corrections
from tests.support.round_games import SIZE, made_game, pictures_of

LABELS = st.lists(st.sampled_from(["a", "b", "look", None]), min_size=1, max_size=8)


def buffer(kind: type[Any] = BCReplayBuffer, capacity: int = 1000) -> Any:
    return kind(capacity, SIZE)


def test_imitation_takes_every_label_with_its_picture(tmp_path: Path) -> None:
    held = buffer()
    assert held.add_game(made_game(tmp_path, ("a", None, "b"))) == 2
    rows = {row.row_id: row for row in held.sample(0, 10, 0)}
    assert sorted(rows) == ["bc/00/0000/000", "bc/00/0000/002"]
    row = rows["bc/00/0000/002"]
    assert (row.prompt, row.task, row.answers) == ("Step 2.\n>", "put a mug in desk.", (" b",))
    np.testing.assert_array_equal(row.picture, pictures_of(3)[2])


def test_preference_takes_only_labels_the_agent_did_not_choose(tmp_path: Path) -> None:
    held = buffer(DPOReplayBuffer)
    assert held.add_game(made_game(tmp_path, ("a", None, "b", "look"), phase="dpo")) == 2
    assert {row.row_id: row.answers for row in held.sample(0, 10, 0)} == {
        "dpo/00/0000/002": (" b", " a"),
        "dpo/00/0000/003": (" look", " a"),
    }


def test_preference_takes_what_both_chose_as_well_where_it_is_asked_to(tmp_path: Path) -> None:
    held = DPOReplayBuffer(1000, SIZE, agreements=True)
    assert held.add_game(made_game(tmp_path, ("a", None, "b"), phase="dpo")) == 2
    game = made_game(tmp_path, ("a",), phase="dpo", game=1, expert_thought="stay", agent_thought="stay")
    assert held.add_game(game) == 2
    assert {row.row_id: (row.prompt, row.answers) for row in held.sample(0, 10, 0)} == {
        "dpo/00/0000/000": ("Step 0.\n>", (" a",)),
        "dpo/00/0000/002": ("Step 2.\n>", (" b", " a")),
        "dpo/00/0001/000/thought": ("Step 0.\n>", (" think: stay",)),
        "dpo/00/0001/000": ("Step 0.\n> think: stay\n>", (" a",)),
    }
    assert held.add_game(made_game(tmp_path, ("b",), phase="dpo", game=2, agent_action="")) == 0


def test_agent_that_said_nothing_makes_no_pair(tmp_path: Path) -> None:
    assert buffer(DPOReplayBuffer).add_game(made_game(tmp_path, ("b", "look"), agent_action="")) == 0


def test_thoughts_are_learned_beside_the_commands_after_them(tmp_path: Path) -> None:
    game = made_game(tmp_path, ("b",), expert_thought="go on", agent_thought="stay")
    held, pairs = buffer(), buffer(DPOReplayBuffer)
    assert held.add_game(game) == pairs.add_game(game) == 2
    assert {row.row_id: (row.prompt, row.answers) for row in held.sample(0, 9, 0)} == {
        "bc/00/0000/000/thought": ("Step 0.\n>", (" think: go on",)),
        "bc/00/0000/000": ("Step 0.\n> think: go on\n>", (" b",)),
    }
    assert {row.row_id: (row.prompt, row.answers) for row in pairs.sample(0, 9, 0)} == {
        "bc/00/0000/000/thought": ("Step 0.\n>", (" think: go on", " think: stay")),
        "bc/00/0000/000": ("Step 0.\n> think: stay\n>", (" b", " a")),
    }


def test_each_games_pictures_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, read = buffer(DPOReplayBuffer), []
    for number, labels in enumerate((("b", "b", None, "b"), ("b",), ("a",))):
        held.add_game(made_game(tmp_path, labels, game=number))
    held.add_pairs(pairs_from_corrections([correction("one", "Go[]", "Wait[]")], SIZE))

    def counted(folder: Path, steps: Any = None) -> Any:
        read.append(folder.name)
        return read_pictures(folder, steps)

    monkeypatch.setattr("hitl_ops.samples.replay_buffer.read_pictures", counted)
    rows = {row.row_id: row.picture for row in held.sample(0, 9, 0)}
    assert sorted(read) == ["bc-00-0000", "bc-00-0001"]
    wanted = {"bc/00/0000/000": pictures_of(4)[0], "bc/00/0000/001": pictures_of(4)[1]}
    wanted |= {"bc/00/0000/003": pictures_of(4)[3], "bc/00/0001/000": pictures_of(1)[0]}
    wanted["corrections/one"] = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert rows.keys() == wanted.keys()
    for row_id, picture in wanted.items():
        np.testing.assert_array_equal(rows[row_id], picture)


def test_nothing_is_doubled(tmp_path: Path) -> None:
    held, game = buffer(), made_game(tmp_path, ("a", "b"))
    assert (held.add_game(game), held.add_game(game), held.add_game(game.folder), len(held)) == (2, 0, 0, 2)
    # The same round and game of another run is another game.
    assert held.add_game(made_game(tmp_path / "other", ("a",)), "001") == 1
    assert held.row_ids == ["bc/00/0000/000", "bc/00/0000/001", "001/bc/00/0000/000"]


def test_oldest_games_leave_and_do_not_come_back(tmp_path: Path) -> None:
    held = buffer(capacity=5)
    games = [made_game(tmp_path, ["b"] * length, game=number) for number, length in enumerate((2, 2, 3, 9, 1))]
    sizes = []
    for game in games:
        held.add_game(game)
        sizes.append(len(held))
    assert sizes == [2, 4, 5, 9, 1]
    assert held.add_game(games[0]) == 0 and {row_id[:10] for row_id in held.row_ids} == {"bc/00/0004"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(games=st.lists(LABELS, min_size=1, max_size=6), capacity=st.integers(1, 20), order=st.randoms())
def test_bounds_hold_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, games: list[list[str | None]], capacity: int, order: Any
) -> None:
    folder = tmp_path_factory.mktemp("games")
    made = [made_game(folder, labels, game=number) for number, labels in enumerate(games)]
    for kind in (BCReplayBuffer, DPOReplayBuffer):
        held, largest = buffer(kind, capacity), 0
        for game in [*made, *made]:
            before = len(held)
            largest = max(largest, held.add_game(game), 0)
            assert len(held) <= max(capacity, largest)
            assert len(held) >= min(before, capacity) or len(held) > 0
        ids = held.row_ids
        assert len(ids) == len(set(ids))
        wanted = [labels for labels in games]
        for row_id in ids:
            label = wanted[int(row_id.split("/")[2])][int(row_id.split("/")[3])]
            assert label is not None and (kind is BCReplayBuffer or label != "a")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, held = tmp_path_factory.mktemp("full"), buffer()
    for number, length in enumerate((5, 1, 7)):
        held.add_game(made_game(folder, ["b"] * length, game=number))
    return held


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 20), seed=st.integers(0, 9), first=st.integers(0, 40))
@pytest.mark.parametrize("draw", ["rows", "games"])
def test_every_epoch_goes_through_all_rows_once(full: Any, draw: str, count: int, seed: int, first: int) -> None:
    def rows_of(step: int) -> list[str]:
        return [row.row_id for row in full.sample(step, count, seed, draw=draw)]

    steps = -(-len(full) // count)
    start = first * steps
    drawn = [rows_of(step) for step in range(start, start + steps)]
    assert Counter(row_id for rows in drawn for row_id in rows) == Counter(full.row_ids)
    assert max(map(len, drawn)) - min(map(len, drawn)) <= 1 and max(map(len, drawn)) <= count
    assert drawn == [rows_of(step) for step in range(start, start + steps)]


def test_games_that_are_drawn_stay_together(full: Any) -> None:
    orders = set()
    for step in range(12):
        games = [row.row_id.split("/")[2] for row in full.sample(step, 13, 0, draw="games")]
        assert [game for game, _ in groupby(games)] == list(dict.fromkeys(games))
        orders.add(tuple(dict.fromkeys(games)))
    assert len(orders) > 3


def test_seed_and_epoch_change_the_order(full: Any) -> None:
    orders = {tuple(row.row_id for row in full.sample(step, 13, seed)) for step in range(3) for seed in range(3)}
    assert len(orders) == 9


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="buffer is empty"):
        buffer().sample(0, 1, 0)
    with pytest.raises(UserError, match="holds nothing"):
        buffer(capacity=0)
    held = buffer()
    held.add_game(made_game(tmp_path, ("b",), size=16))
    with pytest.raises(UserError, match="pictures of 16×16, not of 8×8"):
        held.sample(0, 1, 0)


def correction(pair_id: str, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(
        pair_id=pair_id,
        episode_id="e",
        split="train",
        scene_id="s",
        task_type="rearrange",
        iteration=0,
        play_id="p",
        step=0,
        agent=0,
        prompt="Task: tidy.\n<act>",
        chosen=chosen,
        rejected=rejected,
        weight=1.0,
        policy_id="planner",
        trace="t",
        label_ids="1",
    )


def test_corrections_of_a_planner_become_pairs_without_pictures() -> None:
    pairs = [
        correction("e/p/0/pair", "Navigate[mug_1]<end_act>", "Wait[]<end_act>"),
        correction("e/p/0/pair", "Navigate[mug_1]<end_act>", "Wait[]<end_act>"),
        correction("e/p/1/pair", "Wait[]<end_act>", "Wait[]"),
        correction("e/p/2/pair", "Wait[]", ""),
    ]
    rows = pairs_from_corrections(pairs, SIZE)
    assert [(row.row_id, row.answers) for row in rows] == [("corrections/e/p/0/pair", (" Navigate[mug_1]", " Wait[]"))]
    held = buffer(DPOReplayBuffer)
    assert (held.add_pairs(rows), held.add_pairs(rows)) == (1, 0)
    (row,) = held.sample(0, 4, 0)
    assert row.picture.shape == (SIZE, SIZE, 3) and not row.picture.any() and row.prompt == "Task: tidy.\n<act>"
