"""Which pair of clips an annotator is asked next, with which clip on which side. Nothing is kept here: all follows from
the pairs and what people have said of them.

Sides are changed by lot for each person and pair, so that whoever always says the same side can be told from whoever
prefers a clip. Some pairs are asked of two people, to see whether they agree, and some are asked again of the same
person with the sides changed, to see whether they agree with themselves. Who is asked what depends on names alone: the
same people are asked the same after a restart.

A pair is done when enough people have said something to learn from. Where somebody cannot tell, or says nearly always
the same side, others are asked as well; so they are after a tie, as long as nobody says of any pair which is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import Field

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.preference import ClipPair, PreferenceValue
from hitl_ops.labels.annotator_consistency import annotator_consistency
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import ClipSet

_AGREEING = 2
_BETTER = ("left", "right")


class ComparisonSettings(StrictConfig):
    """Of how many people each pair is asked, and how often again."""

    people_per_pair: int = Field(default=1, ge=1, le=100, description="annotators each pair is asked of")
    overlap: float = Field(
        default=0.1, ge=0, le=1, description="share of pairs asked of two, to see whether they agree"
    )
    repeats: float = Field(
        default=0.05, ge=0, le=1, description="share of somebody's own pairs asked again with the sides changed"
    )
    repeat_after: int = Field(
        default=10, ge=1, le=10_000, description="pairs of their own between a question and the same one again"
    )


@dataclass(frozen=True, slots=True)
class Question:
    """A pair as somebody is asked of it.

    Attributes:
        pair: which.
        left: the clip they see on the left.
        right: the clip they see on the right.
        repeat: whether they have said something of it before.
    """

    pair: ClipPair
    left: str
    right: str
    repeat: bool

    @property
    def key(self) -> tuple[str, bool]:
        """Tells it from the same person's other questions."""
        return self.pair.pair_id, self.repeat


@dataclass(frozen=True, slots=True)
class AskedSoFar:
    """How far a set has come.

    Attributes:
        answers: first answers so far that there is something to learn from, of each pair at most as many as wanted.
        wanted: answers that are wanted of all pairs.
        pairs_done: pairs that have all their answers.
    """

    answers: int
    wanted: int
    pairs_done: int


def people_wanted(pair_id: str, settings: ComparisonSettings) -> int:
    """Of how many people a pair is asked."""
    if settings.people_per_pair >= _AGREEING or _lot("overlap", pair_id) >= settings.overlap:
        return settings.people_per_pair
    return _AGREEING


def is_asked_again(pair_id: str, annotator: str, settings: ComparisonSettings) -> bool:
    """Whether somebody who has said something of a pair is asked of it once more."""
    return _lot("again", pair_id, annotator) < settings.repeats


def sides(pair: ClipPair, annotator: str) -> tuple[str, str]:
    """The clips somebody sees of a pair at first: on the left, on the right."""
    return (pair.left, pair.right) if _lot("sides", pair.pair_id, annotator) < 0.5 else (pair.right, pair.left)


def fits(said: PreferenceValue, clip_set: ClipSet) -> bool:
    """Whether what was said is of a pair of this set: the same clips, with the same numbers in them."""
    pair = clip_set.pairs_by_id.get(said.pair_id)
    if pair is None or {said.left, said.right} != {pair.left, pair.right}:
        return False
    clips = clip_set.clips
    return (said.left_hash, said.right_hash) == (clips[said.left].content_hash, clips[said.right].content_hash)


class ComparisonQueue:
    """A set's pairs, and what people have said of them so far.

    Args:
        clip_set: what is asked.
        words: what stands, by whomever, in the order in which it was said; what is of other clips does not count, but
            tells how people answer.
        settings: of how many, and how often again.
        left_out: pairs that cannot be asked.
    """

    def __init__(
        self,
        clip_set: ClipSet,
        words: Sequence[Preference],
        settings: ComparisonSettings,
        left_out: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self.words = [word for word in words if fits(word.said, clip_set)]
        self.pairs = [pair for pair in clip_set.pairs if pair.pair_id not in left_out]
        self._people: dict[str, set[str]] = {}
        self._counted: dict[str, set[str]] = {}
        one_sided = {name for name, one in annotator_consistency(words).items() if one.one_sided}
        firsts = [word for word in self.words if not word.said.repeat]
        opinions = any(word.said.choice in _BETTER for word in firsts if word.annotator not in one_sided)
        for word in firsts:
            self._people.setdefault(word.said.pair_id, set()).add(word.annotator)
            teaches = word.said.choice in _BETTER or (word.said.choice == "tie" and opinions)
            if teaches and word.annotator not in one_sided:
                self._counted.setdefault(word.said.pair_id, set()).add(word.annotator)

    def next_for(
        self, annotator: str, count: int, *, taken: Collection[str] = (), besides: Collection[tuple[str, bool]] = ()
    ) -> list[Question]:
        """What somebody is asked next: what is due again first, then what nobody else has, in the set's order.

        Args:
            annotator: who.
            count: how many questions.
            taken: pairs in other people's hands.
            besides: questions (pair, repeat) the person has already.
        """
        found: list[Question] = []
        for question in self._all_for(annotator, taken):
            if len(found) >= count:
                break
            if question.key not in besides:
                found.append(question)
        return found

    def _all_for(self, annotator: str, taken: Collection[str]) -> Iterator[Question]:
        yield from self._again(annotator)
        for pair in self.unfinished():
            if pair.pair_id not in taken and annotator not in self._people.get(pair.pair_id, ()):
                yield Question(pair, *sides(pair, annotator), repeat=False)

    def _again(self, annotator: str) -> Iterator[Question]:
        own = [word.said for word in self.words if word.annotator == annotator]
        asked = {said.pair_id for said in own if said.repeat}
        firsts = [said for said in own if not said.repeat]
        pairs = {pair.pair_id: pair for pair in self.pairs}
        for said in firsts[: max(0, len(firsts) - self._settings.repeat_after)]:
            pair = pairs.get(said.pair_id)
            again = is_asked_again(said.pair_id, annotator, self._settings)
            if pair is not None and again and said.pair_id not in asked:
                yield Question(pair, said.right, said.left, repeat=True)

    def unfinished(self) -> Iterator[ClipPair]:
        """Pairs that somebody is still to be asked of, in their order."""
        for pair in self.pairs:
            if len(self._counted.get(pair.pair_id, ())) < people_wanted(pair.pair_id, self._settings):
                yield pair

    @cached_property
    def so_far(self) -> AskedSoFar:
        """How far the set has come."""
        wanted = [people_wanted(pair.pair_id, self._settings) for pair in self.pairs]
        given = [len(self._counted.get(pair.pair_id, ())) for pair in self.pairs]
        both = list(zip(given, wanted, strict=True))
        return AskedSoFar(
            answers=sum(min(one, most) for one, most in both),
            wanted=sum(wanted),
            pairs_done=sum(one >= most for one, most in both),
        )

    def said_by(self, annotator: str) -> int:
        """Pairs of this set that somebody has said something of."""
        return sum(annotator in people for people in self._people.values())


def _lot(*names: str) -> float:
    """A number in [0, 1) that depends on names alone."""
    digest = hashlib.sha256("\n".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
