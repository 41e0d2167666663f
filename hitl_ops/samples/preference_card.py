"""The data card of preferences: how many, what was said, by whom, and how far they can be relied on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import CHOICES
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.labels.annotator_consistency import AnnotatorConsistency, annotator_consistency
from hitl_ops.labels.preferences import Preference

CARD_FILE = "data_card.json"
PLOT_FILE = "choices.png"
_COLOURS = {"left": "#3b6ea8", "right": "#d98b2b", "tie": "#8a8f98", "cant_tell": "#d5d8dd"}
_WORDS = {"left": "left", "right": "right", "tie": "tie", "cant_tell": "can't tell"}


class PreferenceCard(BaseModel):
    """What stands in ``data_card.json`` beside preferences."""

    comparisons: int = Field(description="answers that stand, those asked again included")
    repeats: int = Field(description="of these, questions asked a second time")
    pairs: int = Field(description="different pairs")
    choices: dict[str, int]
    by_iteration: dict[str, int]
    by_chosen: dict[str, int] = Field(default_factory=dict, description="answers by how their pair was chosen")
    annotators: dict[str, AnnotatorConsistency]
    human_seconds: float = Field(description="of people's time, all answers together, s")
    left_out: dict[str, int] = Field(description="why answers are not in the file, and how many")
    content_hash: str = Field(description="sha256 of the file")


def write_preference_card(
    all_words: Sequence[Preference], file: Path, left_out: dict[str, int], chosen_by: Mapping[str, str]
) -> PreferenceCard:
    """Publish ``data_card.json`` and ``choices.png`` beside a file of preferences.

    Args:
        all_words: what stands, also what is not in the file.
        file: the preferences that were written.
        left_out: why words are not in it, and how many.
        chosen_by: pair → how it was chosen.

    Raises:
        CannotWrite: the folder cannot be written.
    """
    choices = Counter(str(word.said.choice) for word in all_words)
    card = PreferenceCard(
        comparisons=len(all_words),
        repeats=sum(word.said.repeat for word in all_words),
        pairs=len({word.said.pair_id for word in all_words}),
        choices={choice: choices[choice] for choice in CHOICES},
        by_iteration=dict(sorted(Counter(f"{word.iteration:03d}" for word in all_words).items())),
        by_chosen=dict(Counter(chosen_by.get(word.said.pair_id, "unknown") for word in all_words)),
        annotators=annotator_consistency(all_words),
        human_seconds=round(sum(word.seconds for word in all_words), 2),
        left_out=left_out,
        content_hash=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    draw_choices(card, file.parent / PLOT_FILE)
    publish_json(file.parent / CARD_FILE, card)
    return card


def read_preference_card(folder: Path) -> PreferenceCard:
    """The card in a folder of samples.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = folder / CARD_FILE
    try:
        return PreferenceCard.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"data card '{file}' cannot be read: {first}", "materialise preference_labels") from None


def draw_choices(card: PreferenceCard, path: Path) -> None:
    """Draw what everybody said, a bar a person."""
    from matplotlib.figure import Figure

    people = list(card.annotators)
    figure = Figure(figsize=(7, 1.4 + 0.4 * len(people)), layout="constrained")
    axes = figure.subplots()
    begun = [0.0] * len(people)
    for choice in CHOICES:
        values = [card.annotators[name].shares.get(choice, 0.0) * card.annotators[name].answers for name in people]
        axes.barh(people, values, left=begun, color=_COLOURS[choice], label=_WORDS[choice])
        begun = [before + value for before, value in zip(begun, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("answers")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.3), ncols=len(CHOICES), frameon=False, fontsize=8)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
