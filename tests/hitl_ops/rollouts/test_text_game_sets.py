"""Lists of text games: each iteration has its own to learn from, all have the same to be examined on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.rollouts.text_corpus import text_corpus
from hitl_ops.rollouts.text_game_sets import (
    TextGamesConfig,
    games_hash,
    make_text_games,
    read_text_games,
    task_hash,
    write_text_games,
)
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.world import HouseholdTextWorld

WORLD = HouseholdTextConfig(rooms=1, objects_per_room=2, max_steps=20, renderer="pybullet")
COUNTS = TextGamesConfig(train=3, val=2, test=2)


def test_iterations_have_games_of_their_own_and_one_examination() -> None:
    train = [make_text_games(WORLD, "train", COUNTS, iteration) for iteration in (0, 1)]
    assert [len(games) for games in train] == [3, 3]
    assert not {task_hash(game) for game in train[0]} & {task_hash(game) for game in train[1]}
    assert make_text_games(WORLD, "test", COUNTS, 0) == make_text_games(WORLD, "test", COUNTS, 5)
    assert make_text_games(WORLD, "train", COUNTS.replace(seed=1)) != train[0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    games = make_text_games(WORLD, "train", COUNTS)
    file = write_text_games(games, tmp_path / "train.jsonl")
    assert read_text_games(file) == games
    assert games_hash(games) == games_hash(games[::-1]) != games_hash(games[1:])
    renamed = games[0].model_copy(update={"game_id": "another", "split": "test", "seed": 99})
    assert task_hash(renamed) == task_hash(games[0]) != task_hash(games[1])


def test_mistakes_are_named(tmp_path: Path) -> None:
    games = make_text_games(WORLD, "train", COUNTS)
    file = tmp_path / "games.jsonl"
    with pytest.raises(UserError, match="there are no games in"):
        read_text_games(file)
    write_text_games([*games, games[0]], file)
    with pytest.raises(UserError, match="name a game twice"):
        read_text_games(file)
    file.write_text(games[0].model_dump_json() + "\n" + games[1].model_dump_json()[:-9])
    with pytest.raises(UserError, match="line 2"):
        read_text_games(file)
    file.write_text("")
    with pytest.raises(UserError, match="there are no games in"):
        read_text_games(file)


def test_a_corpus_has_what_was_said_and_what_could_be() -> None:
    games = make_text_games(WORLD, "train", COUNTS)
    world = HouseholdTextWorld(WORLD.max_steps)
    texts = text_corpus(games, world)
    assert texts == text_corpus(games, world)
    assert all(text.endswith("\n>") for text in texts[:3]) and games[2].task in texts[2]
    offered = texts[3:]
    assert len(set(offered)) == len(offered) and " look" in offered
    assert all(text.startswith(" ") and "\n" not in text for text in offered)
