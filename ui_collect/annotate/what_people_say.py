"""What people say about a play, as one annotator is told it: one's own words apart from others'."""

from __future__ import annotations

from hitl_ops.labels.opinions import PlayOpinions
from hitl_ops.labels.rows import Annotator
from ui_collect.annotate.messages import Mark, OthersMark, OthersReview, Review, Reviews


def marks(said: PlayOpinions, index: int, me: Annotator, names: dict[str, str]) -> tuple[Mark | None, list[OthersMark]]:
    """What stands about a decision; what was decided in the play itself is left out.

    Args:
        said: what people say about the play.
        index: of the decision.
        me: who is told.
        names: what annotators are called, by id; others go by their id.

    Returns:
        One's own mark, and those of others.
    """
    mine: Mark | None = None
    others = []
    for annotator, opinion in said.decisions.get(index, {}).items():
        if opinion.in_play or not opinion.corrected:
            continue
        if annotator == me.id:
            mine = Mark(corrected=opinion.corrected, reason=opinion.reason)
        else:
            name = names.get(annotator, annotator)
            others.append(OthersMark(corrected=opinion.corrected, reason=opinion.reason, annotator=name))
    return mine, others


def marked_by(me: Annotator, said: PlayOpinions) -> int:
    """How many decisions of a play one has marked."""
    mine = (about.get(me.id) for about in said.decisions.values())
    return sum(opinion is not None and bool(opinion.corrected) and not opinion.in_play for opinion in mine)


def reviews(said: PlayOpinions, me: Annotator, names: dict[str, str]) -> Reviews:
    """Who is through with a play."""
    mine = said.reviews.get(me.id)
    return Reviews(
        mine=Review(status=mine.status, errors=mine.errors) if mine is not None else None,
        others=[
            OthersReview(status=review.status, errors=review.errors, annotator=names.get(annotator, annotator))
            for annotator, review in said.reviews.items()
            if annotator != me.id
        ],
    )
