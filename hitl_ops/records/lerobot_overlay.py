"""Overlays: further or other columns for a LeRobot data set, in a folder of their own.

The data set stays untouched; what was estimated or labelled of its frames stands in ``columns.parquet`` (a row a
frame, in the data set's order) and what it belongs to in ``overlay.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import publish_json, publishing
from hitl_ops.records.lerobot_columns import check_finite, episode_spans, read_columns
from hitl_ops.records.lerobot_edit import ADVANTAGE
from hitl_ops.records.lerobot_layout import AUTOMATIC, INFO_PATH, read_json
from hitl_ops.records.lerobot_reading import LeRobotFolder
from hitl_ops.records.lerobot_stats import Stats

FACTS_FILE = "overlay.json"
COLUMNS_FILE = "columns.parquet"
_NOT_OF_THE_FRAMES = ("total_tasks",)
"""Says how many tasks there are, which changes when a data set is labelled in place; its frames stay what they are."""
_SAID_OF_THE_FRAMES = frozenset({*AUTOMATIC, ADVANTAGE})
"""Columns whose statistics labelling changes, or which follow from the lengths of episodes."""


class OverlayFacts(BaseModel):
    """What stands in ``overlay.json``."""

    dataset: str = Field(description="Folder of the data set it was made for.")
    fingerprint: str = Field(description="Of that data set: see dataset_fingerprint.")
    frames: int = Field(description="Frames of the data set, rows of the overlay.")
    columns: dict[str, str] = Field(description="Column -> NumPy's name of its dtype.")
    tasks: dict[int, str] | None = Field(default=None, description="Task of each task_index, where it has that column.")
    made: dict[str, Any] = Field(default_factory=dict, description="By what it was made, with which settings.")


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay as it stands on disk.

    Attributes:
        root: its folder.
        facts: what ``overlay.json`` says.
    """

    root: Path
    facts: OverlayFacts

    @property
    def tasks(self) -> dict[int, str] | None:
        """The task of each task index; None where it has none of its own."""
        return self.facts.tasks

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column, [N]; nothing else is read.

        Raises:
            UserError: it has no such column, or its file is missing or corrupt.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.root / COLUMNS_FILE
        if name not in self.facts.columns:
            raise UserError(f"overlay '{self.root}' has no column '{name}'", f"it has {', '.join(self.facts.columns)}")
        try:
            with pq.ParquetFile(file) as parquet:
                column = parquet.read([name], use_threads=False).column(name)
        except FileNotFoundError:
            raise UserError(f"'{file}' is missing", "make the overlay again") from None
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())
            raise UserError(f"'{file}' is corrupt ({said})", "make the overlay again") from None
        if len(column) != self.facts.frames or column.null_count:
            raise UserError(
                f"'{file}' has {len(column) - column.null_count} numbers in '{name}', not {self.facts.frames}",
                "make the overlay again",
            )
        values: npt.NDArray[Any] = column.to_numpy()
        return values


def dataset_fingerprint(folder: LeRobotFolder) -> str:
    """Tells a data set's frames from others' without reading a row.

    Of ``info.json`` (but for the number of tasks) and each episode's index, length, data file, id and statistics; but
    for those of columns that labels stand in, so that a data set labelled in place is still the same.

    Raises:
        UserError: the data set's description is missing or corrupt.
    """
    said = {key: value for key, value in read_json(folder.root / INFO_PATH).items() if key not in _NOT_OF_THE_FRAMES}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for entry in folder.entries():
        digest.update(f"\n{entry.index} {entry.length} {entry.data.parent.name}/{entry.data.name}".encode())
        digest.update(json.dumps([entry.facts.get("episode_id"), _of_the_frames(entry.stats)]).encode())
    return digest.hexdigest()


def _of_the_frames(stats: Mapping[str, Stats]) -> list[Any]:
    """An episode's statistics in a fixed order, but for those of columns that labels stand in."""
    return [
        [key, name, value.tolist()]
        for key, one in sorted(stats.items())
        if key not in _SAID_OF_THE_FRAMES
        for name, value in sorted(one.items())
    ]


def write_overlay(
    out: str | Path,
    folder: LeRobotFolder,
    columns: Mapping[str, npt.NDArray[Any]],
    *,
    tasks: Mapping[int, str] | None = None,
    made: Mapping[str, Any] | None = None,
) -> OverlayFacts:
    """Write an overlay; it stands at ``out``, in place of one that stood there, when all of it is written.

    Args:
        out: its folder.
        folder: the data set.
        columns: column → one number a frame, [N] in the data set's order.
        tasks: the task of each value of the column ``task_index``.
        made: by what it was made, as plain data.

    Returns:
        What its ``overlay.json`` says.

    Raises:
        UserError: a column has another length than the data set, or NaN; ``task_index`` has no task; something else
            stands at ``out``, or the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = Path(out)
    if place.is_file() or (place.is_dir() and any(place.iterdir()) and not (place / FACTS_FILE).is_file()):
        raise UserError(f"'{place}' is no overlay", "name another folder")
    spans = episode_spans(folder)
    frames = sum(span.length for span in spans)
    for name, values in columns.items():
        if values.shape != (frames,):
            raise UserError(
                f"column '{name}' for an overlay has shape {values.shape}, data set '{folder.root}' {frames} frames",
                "give one number a frame",
            )
        check_finite(values, name, spans, place)
    if "task_index" in columns:
        known = folder.tasks if tasks is None else tasks
        unknown = set(np.unique(columns["task_index"]).tolist()) - set(known)
        if unknown:
            raise UserError(f"task_index {min(unknown)} of overlay '{place}' has no task", "name a task for each")
    facts = OverlayFacts(
        dataset=str(folder.root.resolve()),
        fingerprint=dataset_fingerprint(folder),
        frames=frames,
        columns={name: str(values.dtype) for name, values in columns.items()},
        tasks=None if tasks is None else dict(tasks),
        made=dict(made or {}),
    )
    counted = [name for name, values in columns.items() if values.dtype.kind in "iub"]
    with publishing(place) as temporary:
        temporary.mkdir()
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        pq.write_table(table, temporary / COLUMNS_FILE, use_dictionary=counted, row_group_size=1 << 20)
        publish_json(temporary / FACTS_FILE, facts)
    return facts


def open_overlay(out: str | Path, folder: LeRobotFolder) -> Overlay:
    """Open an overlay of a data set.

    Raises:
        UserError: it is missing or corrupt, or belongs to another data set.
    """
    file = Path(out) / FACTS_FILE
    try:
        facts = OverlayFacts.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"'{file}' does not exist", "name the folder of an overlay") from None
    except (OSError, ValidationError, ValueError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"'{file}' is corrupt ({said})", "make the overlay again") from None
    if facts.fingerprint != dataset_fingerprint(folder):
        raise UserError(
            f"overlay '{out}' was made for another data set ('{facts.dataset}') or another state of it,"
            f" not for '{folder.root}'",
            "make the overlay again",
        )
    return Overlay(Path(out), facts)


def read_column(folder: LeRobotFolder, name: str, overlays: Sequence[Overlay] = ()) -> npt.NDArray[Any]:
    """One column over all frames: the last overlay's that has it, otherwise the data set's own.

    Returns:
        [N] in the data set's order.

    Raises:
        UserError: naming the file, the episode and the frame where the column is missing, has NaN, or disagrees in
            length with its episode.
    """
    for overlay in reversed(overlays):
        if name in overlay.facts.columns:
            values = overlay.column(name)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                check_finite(values, name, episode_spans(folder), overlay.root / COLUMNS_FILE)
            return values
    return read_columns(folder, [name])[name]
