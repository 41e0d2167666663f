"""Pairs of a clip set that cannot be shown to anybody, noted beside the set by whoever tried to film its clips.

Whoever waits until all pairs are answered does not wait for these. A note counts for the very set it was written for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named, publish_json
from hitl_ops.records.clips import ClipSet


class UnshownPairs(BaseModel):
    """What stands in the note."""

    clip_set: str
    pairs: dict[str, str]


def note_file(clip_set: ClipSet) -> Path:
    """Where a set's note lies: beside its folder, since a set is never changed."""
    return clip_set.root.with_name(f"{clip_set.root.name}.cannot_be_shown.json")


def pairs_not_shown(clip_set: ClipSet) -> dict[str, str]:
    """Pairs of a set that cannot be shown, by id, and why; none where nobody found any.

    Raises:
        UserError: the note is damaged.
    """
    file = note_file(clip_set)
    try:
        noted = UnshownPairs.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise UserError(
            f"'{file}' cannot be read: {str(error).splitlines()[0]}", "remove it; `flywheel compare` writes it anew"
        ) from None
    return noted.pairs if noted.clip_set == _hash(clip_set) else {}


def note_pairs_not_shown(clip_set: ClipSet, pairs: Mapping[str, str]) -> None:
    """Publish which pairs cannot be shown; where there are none, there is no note.

    Args:
        clip_set: the set as it was opened.
        pairs: pair → why.

    Raises:
        CannotWrite: the folder cannot be written.
    """
    file = note_file(clip_set)
    if pairs:
        publish_json(file, UnshownPairs(clip_set=_hash(clip_set), pairs=dict(pairs)))
        return
    with disk_errors_named(file):
        file.unlink(missing_ok=True)


def _hash(clip_set: ClipSet) -> str:
    """Of what the set says of its clips and pairs."""
    digest = hashlib.sha256(clip_set.facts.model_dump_json().encode())
    for pair in clip_set.pairs:
        digest.update(pair.model_dump_json().encode())
    return digest.hexdigest()
