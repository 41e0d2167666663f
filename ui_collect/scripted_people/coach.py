"""A coach whispers what a page never tells: where things lie that the person has not seen yet."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.episode import Episode, read_episodes
from hitl_ops.contracts.errors import UserError
from ui_collect.protocol import EpisodeMessage


class Coach:
    """Knows the tasks of an episode file.

    Args:
        episodes: the tasks.
    """

    def __init__(self, episodes: list[Episode]) -> None:
        self._tasks = {(episode.scene_id, episode.instruction): episode for episode in episodes}

    @classmethod
    def read(cls, path: Path) -> Coach:
        """A coach that has read an episode file, or the files of an episode folder.

        Raises:
            UserError: it does not exist or is corrupt.
        """
        files = sorted(path.glob("*.json.gz")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"folder '{path}' holds no episode files", "name an episode file (json.gz)")
        return cls([episode for file in files for episode in read_episodes(file)])

    def places(self, message: EpisodeMessage) -> dict[str, tuple[str, str]]:
        """Where everything lies at the start of a task: name → place and relation; empty for an unknown task."""
        episode = self._tasks.get((message.scene.scene_id, message.instruction))
        if episode is None:
            return {}
        places = {}
        for name, text in episode.name_to_receptacle.items():
            place, relation, _ = text.split("|")
            places[name] = (place, relation)
        return places
