"""The text worlds there are, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from hitl_ops.contracts.config import StrictConfig, as_config
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextGame, TextWorld, TextWorldName
from hitl_ops.worlds.household_text.config import GAMES_NOTE, HouseholdTextConfig
from hitl_ops.worlds.household_text.world import HouseholdTextWorld

TEXT_WORLDS: tuple[TextWorldName, ...] = get_args(TextWorldName)


def make_text_world(name: str, config: StrictConfig | Mapping[str, Any] | None = None) -> TextWorld:
    """A text world; whoever asks for it closes it.

    Args:
        name: the world, one of ``TEXT_WORLDS``.
        config: its configuration, or settings of one; what is not named is as the world's configuration has it.

    Raises:
        UserError: there is no such world, a setting is unknown or wrong, or a package the world needs is missing.
    """
    if name == "household":
        settings = as_config(HouseholdTextConfig, config, source=f"settings of world '{name}'")
        return HouseholdTextWorld(settings.max_steps, settings.renderer)
    if name == "alfworld":
        from hitl_ops.worlds.alfworld import make_alfworld  # its engine is an extra

        return make_alfworld(config)
    raise UserError(f"there is no text world '{name}'", f"there are {', '.join(TEXT_WORLDS)}")


def games_note(games: Sequence[TextGame], settings: Mapping[TextWorldName, Mapping[str, Any]]) -> str:
    """What must be said beside figures of games: whose pictures were seen, and whether the games are the papers'.

    Args:
        games: which were played.
        settings: of worlds by name, as they were played in.

    Raises:
        UserError: a setting is unknown or wrong, or a game's setup is broken.
    """
    notes = [GAMES_NOTE] if any(game.world == "household" for game in games) else []
    played = [game for game in games if game.world == "alfworld"]
    if played:
        from hitl_ops.worlds.alfworld.config import AlfworldConfig
        from hitl_ops.worlds.alfworld.games import GENERATED_NOTE, AlfworldSetup

        notes.append(as_config(AlfworldConfig, settings.get("alfworld"), source="settings of 'alfworld'").picture_note)
        if any(AlfworldSetup.of(game).origin == "generated" for game in played):
            notes.append(GENERATED_NOTE)
    return " ".join(notes)
