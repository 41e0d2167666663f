"""Generated household games: always the same, solvable, apart between splits, and as configured."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import FAMILIES, TextGame
from hitl_ops.worlds.household.catalog import OBJECTS, kind_of
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import game_seed, generate_games
from hitl_ops.worlds.household_text.play import HomePlay
from hitl_ops.worlds.household_text.setup import HouseholdSetup
from hitl_ops.worlds.household_text.solution import solve
from hitl_ops.worlds.text_tasks import parse_task

CONFIG = HouseholdTextConfig()


def setups(config: HouseholdTextConfig, count: int = 12, seed: int = 0) -> list[HouseholdSetup]:
    return [HouseholdSetup.of(game) for game in generate_games("val", count, seed, config)]


def test_the_same_games_every_time() -> None:
    games = generate_games("val", 8, 3, CONFIG)
    assert generate_games("val", 8, 3, CONFIG) == games
    assert generate_games("val", 5, 3, CONFIG) == games[:5]
    assert generate_games("val", 8, 4, CONFIG) != games
    assert len({game.game_id for game in [*games, *generate_games("val", 8, 4, CONFIG)]}) == 16


def test_splits_share_no_home_and_no_seed() -> None:
    homes, seeds = {}, {}
    for split in ("train", "val", "test"):
        games = generate_games(split, 8, 0, CONFIG)
        assert {game.split for game in games} == {split}
        homes[split] = {game.setup["episode"]["scene_id"] for game in games}
        seeds[split] = {game.seed for game in games}
        assert len(seeds[split]) == 8
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not homes[one] & homes[other]
        assert not seeds[one] & seeds[other]
    candidates = [
        game_seed(split, index, attempt, seed)
        for split in ("train", "val", "test")
        for index in (0, 1, 99_999)
        for attempt in (0, 59)
        for seed in (0, 1, 7)
    ]
    assert len(set(candidates)) == len(candidates)


def test_families_and_homes_take_turns() -> None:
    games = generate_games("val", 36, 0, CONFIG)
    assert Counter(game.family for game in games) == dict.fromkeys(FAMILIES, 6)
    pairs = {(game.setup["episode"]["scene_id"], game.family) for game in games}
    assert len(pairs) == 36, "six homes and six families: every home sees every family"


def test_every_game_is_to_be_won_and_can_be() -> None:
    for game in generate_games("val", 12, 1, CONFIG):
        setup = HouseholdSetup.of(game)
        assert not HomePlay(setup).won
        commands = solve(setup, CONFIG.max_steps)
        assert commands
        assert solve(setup, len(commands)) == commands
        assert solve(setup, len(commands) - 1) is None
        play = HomePlay(setup)
        for command in commands:
            assert not play.won
            offered = {str(other): other for other in play.commands()}
            play.perform(offered[command])
        assert play.won
        assert parse_task(game.task) == setup.goal.task


def test_a_game_survives_its_json() -> None:
    for game in generate_games("val", 6, 0, CONFIG):
        again = TextGame.model_validate_json(game.model_dump_json())
        assert again == game
        assert HouseholdSetup.of(again) == HouseholdSetup.of(game)
        assert len(json.dumps(game.setup)) < 4_000


@pytest.mark.parametrize("rooms", [1, 3, 8])
def test_rooms_bounds_where_a_game_is_played(rooms: int) -> None:
    for setup in setups(CONFIG.replace(rooms=rooms), 6):
        home = HomePlay(setup)
        assert len(setup.rooms) == min(rooms, len(home.state.rooms))
        assert {home.state.furniture[place].room for place in home.places.values()} <= set(setup.rooms)
        for thing in home.state.facts.objects.values():
            assert thing.parent in home.places.values(), "nothing lies where nobody can go"


def test_objects_per_room_and_dirty_share_are_kept() -> None:
    few, many = (setups(CONFIG.replace(objects_per_room=number)) for number in (1, 8))
    assert sum(len(s.episode.name_to_receptacle) for s in many) > 2 * sum(
        len(s.episode.name_to_receptacle) for s in few
    )
    for share, expected in ((0.0, False), (1.0, True)):
        for setup in setups(CONFIG.replace(dirty_share=share)):
            for name, clean in setup.episode.object_states["is_clean"].items():
                wanted = setup.goal.task.treatment == "clean" and kind_of(name) == setup.goal.thing
                assert clean == (not expected and not wanted)


def test_families_and_step_limit_are_kept() -> None:
    config = CONFIG.replace(families=("pick_cool_then_place_in_recep",), max_steps=7)
    games = generate_games("val", 6, 0, config)
    assert {game.family for game in games} == {"pick_cool_then_place_in_recep"}
    assert all(len(solve(HouseholdSetup.of(game), 50) or ()) <= 7 for game in games)
    with pytest.raises(UserError, match="no solvable game of family 'pick_two_obj_and_place'"):
        generate_games("val", 1, 0, CONFIG.replace(families=("pick_two_obj_and_place",), max_steps=4))


def test_wanted_things_begin_dirty_and_elsewhere() -> None:
    for setup in setups(CONFIG, 24):
        wanted = {n: place for n, place in setup.episode.name_to_receptacle.items() if kind_of(n) == setup.goal.thing}
        assert len(wanted) >= setup.goal.task.count
        assert all(kind_of(place.split("|")[0]) != setup.goal.place for place in wanted.values())
        if setup.goal.task.treatment == "clean":
            assert OBJECTS[setup.goal.thing].cleanable
            assert not any(setup.episode.object_states["is_clean"][name] for name in wanted)


@pytest.mark.parametrize(("seed", "count"), [(-1, 1), (0, -1), (0, 100_001)])
def test_numbers_out_of_range_are_refused(seed: int, count: int) -> None:
    with pytest.raises(UserError, match="seed"):
        generate_games("val", count, seed, CONFIG)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UserError, match="families"):
        CONFIG.replace(families=("juggle",))
    with pytest.raises(UserError, match="unknown config key 'room'"):
        CONFIG.replace(room=2)
