"""When an iteration's annotation is through: at the target, when all is reviewed, or when somebody says so."""

from __future__ import annotations

import pytest

from hitl_assets.annotation_standing import annotation_standing
from hitl_ops.contracts.correction import PlayReview
from hitl_ops.labels.opinions import Opinions, PlayOpinions

DONE, SKIPPED = PlayReview(status="finished"), PlayReview(status="skipped")


def _said(*reviewed: str, closed_by: tuple[str, ...] = (), **reviews: PlayReview) -> Opinions:
    every = {**dict.fromkeys(reviewed, DONE), **reviews}
    plays = {play: PlayOpinions(play, reviews={"eva": review}) for play, review in every.items()}
    return Opinions("planner", 1, plays, list(closed_by), last_label_id=7)


@pytest.mark.parametrize(
    ("said", "queued", "target", "through", "words"),
    [
        (_said(), ["a", "b"], 2, False, "0 of 2 plays are reviewed"),
        (_said("a"), ["a", "b"], 2, False, "1 of 2 plays are reviewed"),
        (_said("a", "b"), ["a", "b", "c"], 2, True, "2 of 2 plays are reviewed"),
        # Fewer plays than the target: all there are.
        (_said("a", "b"), ["a", "b"], 30, True, "2 of 2 plays are reviewed"),
        (_said("a", b=SKIPPED), ["a", "b"], 30, True, "2 of 2 plays are reviewed"),
        # A review of a play that no longer waits counts for nothing.
        (_said("gone", "a"), ["a", "b"], 2, False, "1 of 2 plays are reviewed"),
        (_said(closed_by=("eva",)), ["a", "b"], 2, True, "0 of 2 plays are reviewed"),
        # Where nothing waits, nothing is through.
        (_said(closed_by=("eva",)), [], 2, False, "0 of 0 plays are reviewed"),
    ],
)
def test_through(said: Opinions, queued: list[str], target: int, through: bool, words: str) -> None:
    standing = annotation_standing(said, queued, target)
    assert (standing.through, str(standing), standing.last_label) == (through, words, 7)
