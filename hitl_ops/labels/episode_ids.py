"""What labels call the episodes of a data set: the recording's own id, or its content where the data set notes none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.records.lerobot_layout import ACTION, numpy_column
from hitl_ops.records.lerobot_reading import EpisodeEntry, LeRobotFolder


def content_id(actions: npt.NDArray[np.generic]) -> str:
    """An id for an episode whose recording has none: what was done in it, which no copying or renaming changes.

    Args:
        actions: the episode's actions, [T, dim].
    """
    plain = np.ascontiguousarray(actions, np.float32)
    return f"sha256-{hashlib.sha256(repr(plain.shape).encode() + plain.tobytes()).hexdigest()}"


def episode_ids(folder: LeRobotFolder) -> Iterator[tuple[EpisodeEntry, str]]:
    """Each episode with the id its labels go by; rows are read only where an episode has no id of its own.

    Raises:
        UserError: the data set is corrupt, or an episode has neither an id nor actions.
    """
    entries = list(folder.entries())
    if all("episode_id" in entry.facts for entry in entries):
        yield from ((entry, str(entry.facts["episode_id"])) for entry in entries)
        return
    for entry, table in folder.episodes():
        told = entry.facts.get("episode_id")
        if told is None:
            if ACTION not in table.column_names:
                raise UserError(
                    f"'{entry.data}', episode {entry.index} has no column '{ACTION}'",
                    "an episode whose recording has no id is known by its actions",
                )
            told = content_id(numpy_column(table.column(ACTION)))
        yield entry, str(told)
