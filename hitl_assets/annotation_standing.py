"""How far an iteration's annotation is, and when it is gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_ops.labels.opinions import Opinions


@dataclass(frozen=True)
class AnnotationStanding:
    """How far an iteration's annotation is.

    Attributes:
        reviewed: plays in the queue that somebody has been through.
        goal: how many are to be: the target, or all there are where these are fewer.
        closed_by: who closed the annotation by hand.
        last_label: the newest label about the iteration's decisions.
    """

    reviewed: int
    goal: int
    closed_by: tuple[str, ...]
    last_label: int

    @property
    def through(self) -> bool:
        """Whether the iteration is gone on with."""
        return self.goal > 0 and (bool(self.closed_by) or self.reviewed >= self.goal)

    def __str__(self) -> str:
        return f"{self.reviewed} of {self.goal} plays are reviewed"


def annotation_standing(said: Opinions, queued: Sequence[str], target: int) -> AnnotationStanding:
    """Compare what has been reviewed with what is to be.

    Args:
        said: what people say about the iteration.
        queued: ids of the plays that wait for annotators.
        target: reviewed plays that are enough.
    """
    reviewed = set(said.reviewed) & set(queued)
    return AnnotationStanding(len(reviewed), min(target, len(queued)), tuple(said.closed_by), said.last_label_id)
