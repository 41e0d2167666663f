"""The seam in the middle of the household: what the task layer asks of whatever stands below it.

Above: tools, facts, knowledge, predicates, text. Below: geometry. The default below is ``kinematic_scene``;
a simulator in a process of its own can stand here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene
from hitl_ops.worlds.household.scene_description import SceneDescription, Vec3


@dataclass(frozen=True, slots=True)
class Route:
    """A way to walk.

    Attributes:
        points: places passed, (x, z) in metres, start and end included.
        lengths: metres walked when reaching each point, starting with 0.
    """

    points: tuple[tuple[float, float], ...]
    lengths: tuple[float, ...]


class SceneLost(UserError):
    """The process a scene lives in has ended; what is played in it goes on from its log in another one."""


class Scene(Protocol):
    """Geometry of one home. Sets of things that can be seen are bit masks over ``anchors``.

    A scene in a process of its own raises :class:`SceneLost` from every method once that process has ended.
    """

    played_scene: PlayedScene
    """Which scene it is; what is played in one is replayed in the same."""
    description: SceneDescription
    anchors: tuple[str, ...]
    """What can be looked at: every piece of furniture, then ``floor_<room>`` for every room."""

    def route(self, start: tuple[float, float], target: str | tuple[float, float]) -> Route | None:
        """The shortest way from ``start`` to a furniture, a room, a floor, or a place; None where there is none.

        Raises:
            KeyError: the scene has no such thing.
        """

    def seen_from(self, x: float, z: float, doors_open: int) -> int:
        """Bit mask of the anchors in line of sight from a place, given a bit mask of open doors."""

    def line_of_sight(self, a: tuple[float, float], b: tuple[float, float], doors_open: int) -> bool:
        """Whether no wall and no closed door stands between two places."""

    def doors_at(self, x: float, z: float) -> int:
        """Bit mask of the doors somebody standing at a place pushes open."""

    def slide(self, x: float, z: float, dx: float, dz: float) -> tuple[float, float]:
        """Where a step by (dx, dz) ends, sliding along whatever is in the way."""

    def room_at(self, x: float, z: float) -> str:
        """The room a place is in."""

    def slots(self, parent: str, relation: str) -> tuple[Vec3, ...]:
        """The places things can take ``on`` or ``within`` a furniture, or on a ``floor_<room>``.

        Raises:
            KeyError: the scene has no such thing.
        """
