"""What one agent knows: the furniture from the start, an object only once seen or told of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hitl_ops.worlds.household.facts import Relation


@dataclass(frozen=True, slots=True)
class Belief:
    """Where an agent believes an object to be and in which state."""

    relation: Relation
    parent: str
    states: tuple[tuple[str, bool], ...]


class Knowledge:
    """One agent's world graph over objects. Beliefs may be out of date: nobody sees through walls."""

    def __init__(self) -> None:
        self.objects: dict[str, Belief] = {}
        self._news: dict[str, None] = {}

    def learn(self, name: str, belief: Belief, *, is_news: bool) -> None:
        """Take in where an object is; ``is_news`` when it was seen rather than done or told."""
        if self.objects.get(name) == belief:
            return
        # A known object keeps its place in the order: texts list things in the order they were first seen.
        self.objects[name] = belief
        if is_news:
            self._news[name] = None
        else:
            self._news.pop(name, None)

    def forget(self, name: str) -> None:
        """Take in that an object is no longer where it was believed to be."""
        if self.objects.pop(name, None) is not None:
            self._news[name] = None

    @property
    def has_news(self) -> bool:
        """Whether something was newly seen, moved or missing since the last ``take_news``."""
        return bool(self._news)

    def take_news(self) -> list[str]:
        """Names of objects newly seen, moved or missing since the last call, in the order noticed."""
        news = list(self._news)
        self._news.clear()
        return news

    def graph(self) -> dict[str, Any]:
        """The beliefs as plain data, for traces."""
        return {
            name: {"relation": belief.relation, "parent": belief.parent, "states": dict(belief.states)}
            for name, belief in self.objects.items()
        }
