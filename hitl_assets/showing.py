"""How results look in Dagster's pages: pictures that travel with the event, tables, paths, percentages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

# An event is a row of the event log: pictures above this size stay on disk and are named instead.
_LARGEST_PICTURE_BYTES = 300_000


def pictures(files: Iterable[Path]) -> dg.MetadataValue:
    """PNG files as Markdown with the images inside, so that the page shows them wherever it is opened."""
    parts = []
    for file in files:
        title = file.stem.replace("_", " ")
        content = file.read_bytes()
        if len(content) > _LARGEST_PICTURE_BYTES:
            parts.append(f"**{title}**: `{file}`")
        else:
            parts.append(f"![{title}](data:image/png;base64,{base64.b64encode(content).decode()})")
    return dg.MetadataValue.md("\n\n".join(parts) or "no picture")


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows of text and numbers as a table, its columns typed after the first row.

    Raises:
        ValueError: there is no row, so the columns are unknown.
    """
    if not rows:
        raise ValueError("a table needs a row")
    kinds = {bool: "bool", int: "int", float: "float"}
    columns = [dg.TableColumn(name, kinds.get(type(value), "string")) for name, value in rows[0].items()]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns),
    )


def _cell(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


def counts(values: Mapping[str, int], *, of: str) -> dg.MetadataValue:
    """Counts with their share, as a table."""
    total = sum(values.values()) or 1
    rows = [{of: name, "count": number, "share": f"{number / total:.1%}"} for name, number in values.items()]
    return table(rows or [{of: "none", "count": 0, "share": "–"}])


def interval(mean: float, low: float, high: float) -> str:
    """A share with its interval: ``82.0 % (74.0 – 89.0)``."""
    return f"{100 * mean:.1f} % ({100 * low:.1f} – {100 * high:.1f})"


def path(place: Path) -> dg.MetadataValue:
    """A file or folder, copyable from the page."""
    return dg.MetadataValue.path(str(place))
