"""What people have compared stays: a set of clips that takes another's place keeps those that something was said of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import Clip, open_clip_set


def compared_clips(folder: Path, words: Iterable[Preference]) -> list[Clip]:
    """The clips of a set that people said something of which still stands.

    Args:
        folder: the set's; there may be none, or a damaged one, which keeps nothing.
        words: what stands.
    """
    said = {
        (name, content)
        for word in words
        for name, content in ((word.said.left, word.said.left_hash), (word.said.right, word.said.right_hash))
    }
    try:
        found = open_clip_set(folder).all_clips() if said else []
    except UserError:
        return []
    return [clip for clip in found if (clip.facts.clip_id, clip.facts.content_hash) in said]


def with_compared(clips: Sequence[Clip], compared: Iterable[Clip]) -> list[Clip]:
    """Clips, and behind them those compared ones that are not among them."""
    known = {clip.facts.clip_id for clip in clips}
    return [*clips, *(clip for clip in compared if clip.facts.clip_id not in known)]
