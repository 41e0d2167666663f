"""Text worlds by name."""

from __future__ import annotations

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextGame
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.text_worlds import games_note, make_text_world


@pytest.mark.parametrize("config", [{"max_steps": 1}, HouseholdTextConfig(max_steps=1)])
def test_the_household_is_made_as_configured(config: object) -> None:
    world = make_text_world("household", config)  # type: ignore[arg-type]
    assert world.name == "household"
    assert not world.begin(generate_games("val", 1, 0, HouseholdTextConfig())[0]).over
    assert world.step("look").over
    world.close()


def test_settings_are_those_of_the_configuration_by_default() -> None:
    world = make_text_world("household")
    world.begin(generate_games("val", 1, 0, HouseholdTextConfig())[0])
    turns = [world.step("look") for _ in range(HouseholdTextConfig().max_steps)]
    assert [turn.over for turn in turns] == [False] * 49 + [True]


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="there is no text world 'kitchen'"):
        make_text_world("kitchen")
    with pytest.raises(UserError, match="did you mean 'max_steps'"):
        make_text_world("household", {"max_step": 3})


def test_figures_of_games_say_whose_games_and_pictures_they_are_of() -> None:
    def alfworld(origin: str) -> TextGame:
        setup = {"folder": "somewhere", "origin": origin}
        name = f"{origin}_1"
        return TextGame(game_id=name, world="alfworld", family="x", split="test", seed=0, task="t.", setup=setup)

    own = generate_games("val", 1, 0, HouseholdTextConfig())
    schematic, thor = "schematic drawing of the game's facts, not AI2-THOR's", "Pictures: AI2-THOR's"
    household, generated = "Flywheel's own homes", "Generated games"
    build = {"alfworld": {"pictures": "thor", "thor_executable": "build"}}
    told = {
        "own": games_note(own, {}),
        "official": games_note([alfworld("official")], {"alfworld": {}}),
        "generated": games_note([alfworld("official"), alfworld("generated")], {}),
        "filmed": games_note([alfworld("official")], build),  # type: ignore[arg-type]
        "both": games_note([*own, alfworld("generated")], {}),
    }
    said = {
        name: {one for one in (schematic, thor, household, generated) if one in note} for name, note in told.items()
    }
    assert said == {
        "own": {household},
        "official": {schematic},
        "generated": {schematic, generated},
        "filmed": {thor},
        "both": {household, schematic, generated},
    }
    assert all("\n" not in note for note in told.values())
    assert "not comparable with those of the papers" in told["own"] and "papers" not in told["official"]
