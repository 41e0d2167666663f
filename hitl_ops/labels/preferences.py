"""What people say of pairs of clips: each person's last word on each pair.

Kept as values of labels of kind ``preference``. The target names the pair and the person, so that two people may differ
on a pair and both words stand, while a person who says something else takes their own earlier word back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hitl_ops.contracts.preference import PreferenceValue

if TYPE_CHECKING:
    from hitl_ops.labels.label_log import LabelLog
    from hitl_ops.labels.rows import Label

_PREFIX = "preference/"
_ID_LETTERS = 60


@dataclass(frozen=True, slots=True)
class Preference:
    """One person's last word on one pair.

    Attributes:
        label_id: the label that says it.
        program: the loop it belongs to.
        iteration: its turn.
        annotator: who says it.
        said: what they say.
        seconds: seconds of their time it took.
    """

    label_id: int
    program: str
    iteration: int
    annotator: str
    said: PreferenceValue
    seconds: float


def preference_target(said: PreferenceValue, annotator: str) -> str:
    """The target of a label about a pair by a person; a repeated question has one of its own.

    It is made of what the clips hold, whatever side they stood on, and not of the pair's id alone: a word on other
    clips that happen to go by the same id takes nobody's place.
    """
    content = hashlib.sha256("/".join([said.pair_id, *sorted((said.left_hash, said.right_hash))]).encode()).hexdigest()
    return f"{_PREFIX}{said.pair_id[:_ID_LETTERS]}-{content[:16]}{'/again' if said.repeat else ''}/{annotator}"


def say_preference(
    labels: LabelLog,
    said: PreferenceValue,
    *,
    program: str,
    iteration: int,
    annotator: str,
    client_key: str,
    seconds: float,
) -> Label:
    """Keep what somebody says of a pair; takes the place of what the same person said of it before.

    Args:
        labels: the label store.
        said: what they say.
        program: the loop.
        iteration: its turn.
        annotator: who says it.
        client_key: the client's own name for this label; a call repeated with it adds nothing.
        seconds: of the person's time it took.

    Raises:
        LabelConflict: the client key was used for another label.
        LabelStoreUnavailable: the label store does not answer.
    """
    return labels.add_label(
        "preference",
        program=program,
        iteration=iteration,
        annotator=annotator,
        client_key=client_key,
        value=said.model_dump(mode="json"),
        seconds=seconds,
        target=preference_target(said, annotator),
    )


def preference(label: Label) -> Preference | None:
    """What a label says of a pair; None where it says something else."""
    if not label.target.startswith(_PREFIX):
        return None
    try:
        said = PreferenceValue.model_validate(label.value)
    except ValidationError:
        return None
    return Preference(label.id, label.program, label.iteration, label.annotator, said, label.seconds)


def standing_preferences(
    labels: LabelLog, program: str, iteration: int | None = None, annotator: str | None = None
) -> list[Preference]:
    """Every word that stands, repeats included, in the order in which they were acknowledged.

    Args:
        labels: the label store.
        program: the loop.
        iteration: only of this turn.
        annotator: only by this person.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
    """
    rows = labels.labels("preference", program=program, iteration=iteration, annotator=annotator)
    found = (preference(label) for label in rows)
    return [word for word in found if word is not None and word.said.choice is not None]
