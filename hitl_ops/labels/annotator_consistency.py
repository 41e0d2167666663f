"""How far a person's comparisons can be relied on: do they agree with themselves and with others, and mean the clip?

Sides are changed by lot before a pair is shown, so somebody who looks at the clips says either side about as often. A
pair that is asked again has its sides changed: whoever means the clip says the other side then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hitl_ops.contracts.preference import CHOICES, Choice, PreferenceValue
from hitl_ops.labels.preferences import Preference

ENOUGH_ANSWERS = 20
"""Of fewer, nothing is said about sides."""
CHANCE_BELOW = 0.001
"""How unlikely so many answers to one side must be (two-sided binomial) before anybody is suspected."""

_Pair = tuple[str, int, str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class AgreementWith:
    """How often two people said the same of a pair.

    Attributes:
        pairs: pairs of which both said something else than "can't tell".
        alike: those of which they said the same.
    """

    pairs: int
    alike: int


@dataclass(frozen=True, slots=True)
class AnnotatorConsistency:
    """How somebody answers.

    Attributes:
        annotator: who.
        answers: all of them, repeats included.
        shares: of all answers, by choice.
        left_share: of answers left or right, those left; None where there are none.
        one_sided: whether they say one side far more often than chance would, and nothing shows that they mean the
            clip: they said otherwise of at least half of what they were asked again, or were asked nothing again.
        repeats: pairs they have answered twice.
        repeats_alike: of these, those answered alike: the same clip, both times a tie, or both times "can't tell".
        seconds_per_answer: mean of the time an answer took, seconds.
        with_others: by their names.
    """

    annotator: str
    answers: int
    shares: Mapping[Choice, float]
    left_share: float | None
    one_sided: bool
    repeats: int
    repeats_alike: int
    seconds_per_answer: float
    with_others: Mapping[str, AgreementWith] = field(default_factory=dict)


def annotator_consistency(preferences: Sequence[Preference]) -> dict[str, AnnotatorConsistency]:
    """How everybody answers, by person, in the order of their first answers.

    Args:
        preferences: words that stand (:func:`hitl_ops.labels.preferences.standing_preferences`).
    """
    by_person: dict[str, list[Preference]] = {}
    for word in preferences:
        if word.said.choice is not None:
            by_person.setdefault(word.annotator, []).append(word)
    meant = {person: _meant(words, repeat=False) for person, words in by_person.items()}
    return {person: _consistency(person, words, meant) for person, words in by_person.items()}


def _consistency(
    person: str, words: Sequence[Preference], meant: Mapping[str, Mapping[_Pair, str]]
) -> AnnotatorConsistency:
    counts = {choice: sum(word.said.choice == choice for word in words) for choice in CHOICES}
    sided = counts["left"] + counts["right"]
    first, again = meant[person], _meant(words, repeat=True)
    repeated = [(first[pair], said) for pair, said in again.items() if pair in first]
    alike = sum(one == other for one, other in repeated)
    return AnnotatorConsistency(
        annotator=person,
        answers=len(words),
        shares={choice: count / len(words) for choice, count in counts.items()},
        left_share=counts["left"] / sided if sided else None,
        one_sided=2 * alike <= len(repeated) and _beyond_chance(len(words), counts["left"], sided),
        repeats=len(repeated),
        repeats_alike=alike,
        seconds_per_answer=sum(word.seconds for word in words) / len(words),
        with_others=_with_others(person, meant),
    )


def _with_others(person: str, meant: Mapping[str, Mapping[_Pair, str]]) -> dict[str, AgreementWith]:
    own = meant[person]
    found = {}
    for other, theirs in meant.items():
        both = [
            (own[pair], theirs[pair])
            for pair in own.keys() & theirs.keys()
            if "cant_tell" not in (own[pair], theirs[pair])
        ]
        if other != person and both:
            found[other] = AgreementWith(len(both), sum(one == two for one, two in both))
    return found


def _meant(words: Sequence[Preference], *, repeat: bool) -> dict[_Pair, str]:
    """What somebody means of each pair, whatever side it stood on: the better clip's hash, or the choice."""
    return {
        (word.program, word.iteration, word.said.pair_id, frozenset((word.said.left_hash, word.said.right_hash))): (
            _clip_meant(word.said)
        )
        for word in words
        if word.said.repeat == repeat
    }


def _clip_meant(said: PreferenceValue) -> str:
    sides: dict[str, str] = {"left": said.left_hash, "right": said.right_hash}
    return sides.get(str(said.choice), str(said.choice))


def _beyond_chance(answers: int, left: int, sided: int) -> bool:
    return answers >= ENOUGH_ANSWERS and sides_by_chance(left, sided) < CHANCE_BELOW


def sides_by_chance(left: int, sided: int) -> float:
    """How likely sides are so uneven, or more, where either is said by lot: the exact two-sided binomial test.

    Counted out here, since it is short and SciPy's takes seconds to import.

    Args:
        left: answers left.
        sided: answers left or right.
    """
    most = max(left, sided - left)
    return min(1.0, 2 * sum(math.comb(sided, number) for number in range(most, sided + 1)) / 2**sided)
