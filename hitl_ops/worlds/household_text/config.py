"""How household text games are made and played."""

from __future__ import annotations

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.text_game import FAMILIES, TextFamily
from hitl_ops.worlds.household.renderer import Backend

GAMES_NOTE = (
    "Games and pictures: Flywheel's own homes, not ALFWorld's or AI2-THOR's; scores on them are not comparable with "
    "those of the papers."
)


class HouseholdTextConfig(StrictConfig):
    """Games in generated homes."""

    families: tuple[TextFamily, ...] = Field(
        default=FAMILIES, min_length=1, description="task families, which take turns"
    )
    rooms: int = Field(default=2, ge=1, le=8, description="rooms of a home a game is played in, at most what it has")
    objects_per_room: int = Field(default=5, ge=1, le=20, description="things in each room, as far as there is space")
    dirty_share: float = Field(default=0.25, ge=0, le=1, description="share of washable things that are dirty at first")
    max_steps: int = Field(default=50, ge=1, description="commands after which a game is over")
    renderer: Backend = Field(default="auto", description="what draws pictures: 'auto', 'opengl' or 'pybullet'")
