"""What a household text game needs to begin: the home and its things as an episode, the rooms, the goal."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.text_game import TextFamily, TextGame
from hitl_ops.worlds.household.catalog import spoken
from hitl_ops.worlds.text_tasks import TextTask


class HouseholdGoal(BaseModel):
    """What is to be reached, in the household's own names.

    Attributes:
        family: the task family.
        thing: kind of object, "mug"; any of the kind will do.
        place: kind of furniture with its room, "kitchen_counter"; for ``look_at_obj_in_light`` the kind of light:
            "living_room_standing_lamp", or "lamp" for one that stands on something.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: TextFamily
    thing: str
    place: str

    @property
    def task(self) -> TextTask:
        """The goal in spoken names."""
        return TextTask(self.family, spoken(self.thing), spoken(self.place))


class HouseholdSetup(BaseModel):
    """Content of ``TextGame.setup`` for the household.

    Attributes:
        episode: the home, where everything is and in which state, and where the agent starts.
        rooms: the rooms that are played in; furniture of others is not part of the game.
        goal: what is to be reached.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    episode: Episode
    rooms: tuple[str, ...]
    goal: HouseholdGoal

    @classmethod
    def of(cls, game: TextGame) -> HouseholdSetup:
        """Read a game's setup.

        Raises:
            UserError: it is another world's game, or its setup is not of this form.
        """
        if game.world != "household":
            raise UserError(f"game '{game.game_id}' is for the world '{game.world}'", "play it there")
        try:
            return cls.model_validate(game.setup)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"game '{game.game_id}': field 'setup.{field}' {first['msg'].lower()}", "generate the games again"
            ) from None
