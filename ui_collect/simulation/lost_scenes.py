"""Keeps an eye on plays' scenes that live in processes of their own, and counts how often each was lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hitl_ops.worlds.habitat.open_scene import check_scene

if TYPE_CHECKING:
    from ui_collect.simulation.play import Play

SCENE_TRIES = 5
"""Times a play is taken up again at the same moment, its scene being lost; then it is given up."""
_LOOK_EVERY_S = 1.0


class LostScenes:
    """Which plays lost their scenes, and where they stood then."""

    def __init__(self) -> None:
        self._lost: dict[str, tuple[int, int]] = {}
        self._look_at = 0.0

    def look_now(self) -> bool:
        """Whether it is time to look whether scenes are still there; people who stand still ask nothing of them."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_EVERY_S
        return True

    @staticmethod
    def look_at(play: Play) -> None:
        """Look after a play's scene.

        Raises:
            SceneLost: it has ended.
        """
        check_scene(play.session.world.scene)

    def worth_another_try(self, play: Play) -> bool:
        """Whether a play that lost its scene just now is to be taken up again: unless it gets nowhere."""
        tick, tries = self._lost.get(play.play_id, (-1, 0))
        tries = tries + 1 if play.began <= tick else 1
        self._lost[play.play_id] = (play.began, tries)
        return tries <= SCENE_TRIES

    def forget(self, play_id: str) -> None:
        """The play is over."""
        self._lost.pop(play_id, None)
