"""Text worlds by name."""

from __future__ import annotations

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.worlds.household_text.config import HouseholdTextConfig
from hitl_ops.worlds.household_text.games import generate_games
from hitl_ops.worlds.text_worlds import make_text_world


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
