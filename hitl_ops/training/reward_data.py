"""What a reward is learned from: what people said of pairs, joined with the clips they saw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.preference import Choice
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import Clip, open_clip_set

Float32 = npt.NDArray[np.float32]

_SAID: Mapping[Choice, float] = {"left": 1.0, "right": 0.0, "tie": 0.5}


@dataclass(frozen=True, eq=False)
class PreferenceData:
    """Comparisons, ready to learn from.

    Attributes:
        observations: [C, T, D], every clip once, filled up with zeros to the longest.
        actions: [C, T, A].
        lengths: [C], steps of each clip.
        clip_ids: the clips, in that order.
        left: [P], row of each comparison's left clip.
        right: [P].
        said: [P], 1 where the left one is better, 0 where the right one is, 0.5 for a tie.
        weights: [P], how much each comparison counts.
        validation: [P], whether it is held out.
        annotators: [P], who said it.
        label_ids: [P], the label that says it.
        left_out: why comparisons are not among them, and how many.
    """

    observations: Float32
    actions: Float32
    lengths: npt.NDArray[np.int64]
    clip_ids: list[str]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    said: Float32
    weights: Float32
    validation: npt.NDArray[np.bool_]
    annotators: list[str]
    label_ids: list[int]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def mask(self) -> Float32:
        """[C, T], 1 where a clip has a step."""
        return (np.arange(self.observations.shape[1]) < self.lengths[:, None]).astype(np.float32)

    def rows(self) -> tuple[Float32, Float32]:
        """Every step of every clip: [N, D], [N, A]."""
        there = self.mask.astype(np.bool_)
        return self.observations[there], self.actions[there]


def is_held_out(one_hash: str, other_hash: str, share: float) -> bool:
    """Whether comparisons of two clips are held out.

    What the clips hold decides, so that whatever else is said of the two, by whom and on which side ever, is held out
    too.

    Args:
        one_hash: content hash of a clip.
        other_hash: of the other one; their order does not matter.
        share: of all pairs, 0 to 1.
    """
    digest = hashlib.sha256("/".join(["held out", *sorted((one_hash, other_hash))]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def read_clips(folders: Iterable[Path]) -> dict[str, Clip]:
    """Every clip of some sets, by id.

    Raises:
        UserError: a set or a clip cannot be read, or two sets have different clips of one id.
    """
    found: dict[str, Clip] = {}
    for folder in folders:
        for clip in open_clip_set(folder).all_clips():
            known = found.setdefault(clip.facts.clip_id, clip)
            if known.facts.content_hash != clip.facts.content_hash:
                raise UserError(
                    f"there are two clips called '{clip.facts.clip_id}', one of them in '{folder}'",
                    "give clips of every iteration names of their own",
                )
    return found


def preference_data(
    words: Sequence[Preference],
    clips: Mapping[str, Clip],
    validation_share: float,
    weights: Mapping[str, float] | None = None,
) -> PreferenceData:
    """Join what people said with what they saw.

    What cannot be told is left out, and so is what was said of a clip that is not there or has other numbers now;
    how often is told, and nothing of it is lost: the labels stay where they are.

    Args:
        words: what people said, repeats included: said twice, it counts twice.
        clips: by id.
        validation_share: of the pairs, to be held out.
        weights: how much each annotator counts; by default all the same.

    Raises:
        UserError: nothing is left to learn from, or clips of different kinds are mixed.
    """
    left_out: dict[str, int] = {}
    kept: list[tuple[Preference, float]] = []
    for word in words:
        reason = _not_usable(word, clips)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            kept.append((word, _SAID[word.said.choice]))  # type: ignore[index]  # not None: looked at above
    if not kept:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(
            f"there are no preferences to learn a reward from{f' ({told})' if told else ''}",
            "compare clips with `flywheel compare` first",
        )
    order = {name: row for row, name in enumerate(dict.fromkeys(
        name for word, _ in kept for name in (word.said.left, word.said.right)
    ))}  # fmt: skip
    shown = [clips[name] for name in order]
    widths = {(clip.observations.shape[1], clip.actions.shape[1]) for clip in shown}
    if len(widths) > 1:
        raise UserError(
            f"clips with {sorted(widths)} observed numbers and actions were compared",
            "learn one reward from clips of one world and one setting",
        )
    ((width, actions),) = widths
    longest = max(clip.facts.steps for clip in shown)
    seen = np.zeros((len(shown), longest, width), dtype=np.float32)
    done = np.zeros((len(shown), longest, actions), dtype=np.float32)
    for row, clip in enumerate(shown):
        seen[row, : clip.facts.steps], done[row, : clip.facts.steps] = clip.observations, clip.actions
    counts = weights or {}
    return PreferenceData(
        observations=seen,
        actions=done,
        lengths=np.array([clip.facts.steps for clip in shown], dtype=np.int64),
        clip_ids=list(order),
        left=np.array([order[word.said.left] for word, _ in kept], dtype=np.int64),
        right=np.array([order[word.said.right] for word, _ in kept], dtype=np.int64),
        said=np.array([said for _, said in kept], dtype=np.float32),
        weights=np.array([counts.get(word.annotator, 1.0) for word, _ in kept], dtype=np.float32),
        validation=np.array(
            [is_held_out(word.said.left_hash, word.said.right_hash, validation_share) for word, _ in kept],
            dtype=np.bool_,
        ),
        annotators=[word.annotator for word, _ in kept],
        label_ids=[word.label_id for word, _ in kept],
        left_out=left_out,
    )


def _not_usable(word: Preference, clips: Mapping[str, Clip]) -> str:
    said = word.said
    if said.choice is None:
        return "taken back"
    if said.choice == "cant_tell":
        return "could not be told"
    for name, seen in ((said.left, said.left_hash), (said.right, said.right_hash)):
        if name not in clips:
            return "about clips that are not there"
        if clips[name].facts.content_hash != seen:
            return "about clips that have changed"
    return ""
