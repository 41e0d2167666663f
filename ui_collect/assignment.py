"""Which task a person gets: the one played least so far, never one they had before."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hitl_ops.contracts.episode import Episode


def shuffled(episodes: Iterable[Episode], program: str, iteration: int) -> list[Episode]:
    """Tasks in an order of the iteration's own, always the same: each iteration's people meet other tasks first."""

    def place(episode: Episode) -> bytes:
        return hashlib.sha256(f"{program}/{iteration}/{episode.episode_id}".encode()).digest()

    return sorted(episodes, key=place)


@dataclass
class Assignment:
    """Counts plays per task and per person; begun from the label store, kept up to date after that.

    Args:
        episodes: the tasks there are, in a fixed order.
        attempts: how often one person may try one task.
        plays: how often each was played so far.
    """

    episodes: list[Episode]
    attempts: int = 3
    plays: Counter[str] = field(default_factory=Counter)
    _tried: dict[str, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_id = {episode.episode_id: episode for episode in self.episodes}

    def count(self, episode_id: str, participant_id: str) -> None:
        """Note that a person began a task."""
        self.plays[episode_id] += 1
        self._tried.setdefault(participant_id, Counter())[episode_id] += 1

    def uncount(self, episode_id: str, participant_id: str) -> None:
        """Take :meth:`count` back: the task was not begun after all."""
        self.plays[episode_id] -= 1
        tried = self._tried[participant_id]
        tried[episode_id] -= 1
        if not tried[episode_id]:
            del tried[episode_id]

    def remember(self, participant_id: str, episode_ids: list[str]) -> None:
        """Take up again what a person had begun before a restart; the plays are counted already."""
        self._tried[participant_id] = Counter(episode_ids)

    def forget(self, participant_id: str) -> None:
        """A person has gone for good; what they played stays counted."""
        self._tried.pop(participant_id, None)

    def next_task(self, participant_id: str) -> Episode | None:
        """The task a new play is to be of; None when the person has had all there are."""
        had = self._tried.get(participant_id, Counter())
        fresh = (episode for episode in self.episodes if episode.episode_id not in had)
        return min(fresh, key=lambda episode: self.plays[episode.episode_id], default=None)

    def attempts_left(self, participant_id: str, episode_id: str) -> int:
        """How often a person may still begin a task."""
        return max(0, self.attempts - self._tried.get(participant_id, Counter())[episode_id])

    def tasks_of(self, participant_id: str) -> int:
        """How many different tasks a person has begun."""
        return len(self._tried.get(participant_id, Counter()))
