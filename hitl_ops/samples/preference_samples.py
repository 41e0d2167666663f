"""What people said of pairs, joined with the clip sets they saw: the lines that a reward is learned from.

A line holds one person's word and names the folder of its clip set, relative to the file's own folder, so that a store
can be moved as a whole. Clips are not copied; a set is never changed once it is published.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import PreferenceValue
from hitl_ops.contracts.publish import publish_text
from hitl_ops.labels.annotator_consistency import annotator_consistency
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import ClipSet, open_clip_set

_REMEDY = "make it anew: materialise preference_labels, or learn from another file"
CHANGED = "about clips that have changed"


class PreferenceRow(BaseModel):
    """A line: one person's word on one pair."""

    model_config = ConfigDict(extra="forbid")

    label_id: int
    program: str
    iteration: int
    annotator: str
    said: PreferenceValue
    seconds: float
    clips: str

    @property
    def word(self) -> Preference:
        """The word alone."""
        return Preference(self.label_id, self.program, self.iteration, self.annotator, self.said, self.seconds)


@dataclass(frozen=True)
class JoinedPreferences:
    """Words and where their clips lie.

    Attributes:
        words: what can be learned from, "can't tell" included.
        folders: iteration → folder of its clip set.
        left_out: why words are not among them, and how many.
    """

    words: list[Preference]
    folders: dict[int, Path]
    left_out: dict[str, int]


def join_preferences(
    words: Sequence[Preference], clips_of: Callable[[int], Path], *, one_sided_count: bool
) -> JoinedPreferences:
    """Find the clips that every word is about; labels stay as they are, whatever is left out here.

    Args:
        words: what stands.
        clips_of: folder of an iteration's clip set.
        one_sided_count: whether a reward is to be learned from people who say nearly always the same side.

    Raises:
        UserError: nobody said anything, or nothing that tells which clip is better; everybody says nearly always the
            same side; or a clip set is missing or damaged.
    """
    if not words:
        raise UserError("nobody has compared clips yet", "compare some with `flywheel compare`")
    folders: dict[int, Path] = {}
    sets: dict[int, ClipSet] = {}
    for iteration in sorted({word.iteration for word in words}):
        folders[iteration] = clips_of(iteration)
        try:
            sets[iteration] = open_clip_set(folders[iteration])
        except UserError as error:
            about = sum(word.iteration == iteration for word in words)
            raise UserError(
                f"{about} comparisons are of the clips of iteration {iteration:03d}, and {error.what}",
                "restore the folder; the comparisons themselves are kept",
            ) from None
    found = [word for word in words if _unchanged(word, sets[word.iteration])]
    left_out = {CHANGED: len(words) - len(found)} if len(found) < len(words) else {}
    if not one_sided_count:
        suspects = {name for name, one in annotator_consistency(found).items() if one.one_sided}
        if suspects and suspects >= {word.annotator for word in found}:
            raise UserError(
                f"everybody who compared says nearly always the same side ({', '.join(sorted(suspects))})",
                "let somebody else compare as well, or count them with reward.weigh_annotators=false",
            )
    _need_opinions(found, len(words))
    return JoinedPreferences(found, folders, left_out)


def write_preference_samples(joined: JoinedPreferences, file: Path) -> None:
    """Publish a line a word, in the order in which they were said.

    Raises:
        CannotWrite: the file cannot be written.
    """
    rows = [
        PreferenceRow(
            label_id=word.label_id,
            program=word.program,
            iteration=word.iteration,
            annotator=word.annotator,
            said=word.said,
            seconds=word.seconds,
            clips=os.path.relpath(joined.folders[word.iteration], file.parent),
        )
        for word in joined.words
    ]
    publish_text(file, "".join(row.model_dump_json() + "\n" for row in rows))


def read_preference_samples(file: Path) -> tuple[list[Preference], list[Path]]:
    """The words in a file, and the folders of the clip sets they are about.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"there are no preferences in '{file}'", "materialise preference_labels first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"preferences '{file}' cannot be read: {error}", _REMEDY) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(PreferenceRow.model_validate_json(line))
        except ValidationError as error:
            said = error.errors()[0]["msg"]
            raise UserError(f"line {number} of '{file}' is damaged: {said}", _REMEDY) from None
    folders = dict.fromkeys((file.parent / row.clips).resolve() for row in rows)
    return [row.word for row in rows], list(folders)


def _unchanged(word: Preference, clips: ClipSet) -> bool:
    known, said = clips.clips, word.said
    return all(
        name in known and known[name].content_hash == seen
        for name, seen in ((said.left, said.left_hash), (said.right, said.right_hash))
    )


def _need_opinions(words: Sequence[Preference], given: int) -> None:
    choices = Counter(word.said.choice for word in words)
    if choices["left"] or choices["right"]:
        return
    if not words:
        raise UserError(
            f"all {given} comparisons are of clips that have changed since",
            "restore the clip sets, or compare the pairs there are now",
        )
    told = f"ties: {choices['tie']}, can't tell: {choices['cant_tell']}"
    raise UserError(
        f"none of {len(words)} comparisons says that one clip is better ({told})",
        "let somebody else compare them too with `flywheel compare`, or ask of other clips: raise first_pairs and "
        "clips.episodes, and make the clips anew",
    )
