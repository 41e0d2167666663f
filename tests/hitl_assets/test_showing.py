"""What Dagster's pages show."""

from __future__ import annotations

import base64
from pathlib import Path

import dagster as dg
import pytest

from hitl_assets import showing


def test_pictures_travel_with_the_event_unless_they_are_huge(tmp_path: Path) -> None:
    small, huge = tmp_path / "loss.png", tmp_path / "huge_one.png"
    small.write_bytes(b"\x89PNG small")
    huge.write_bytes(b"\x89PNG" + bytes(400_000))
    shown = showing.pictures([small, huge])
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert f"![loss](data:image/png;base64,{base64.b64encode(small.read_bytes()).decode()})" in (shown.md_str or "")
    assert str(huge) in (shown.md_str or "")
    assert len(shown.md_str or "") < 2000


def test_tables_have_typed_columns() -> None:
    shown = showing.table(
        [{"split": "val", "episodes": 3, "success": 0.5}, {"split": "test", "episodes": 2, "success": None}]
    )
    assert isinstance(shown, dg.TableMetadataValue)
    assert [(column.name, column.type) for column in shown.schema.columns] == [
        ("split", "string"),
        ("episodes", "int"),
        ("success", "float"),
    ]
    assert shown.records[1].data["success"] == "None"
    with pytest.raises(ValueError):
        showing.table([])


def test_counts_say_their_share() -> None:
    shown = showing.counts({"Pick": 3, "Place": 1}, of="action")
    assert isinstance(shown, dg.TableMetadataValue)
    assert [record.data["share"] for record in shown.records] == ["75.0%", "25.0%"]
    empty = showing.counts({}, of="action")
    assert isinstance(empty, dg.TableMetadataValue)
    assert empty.records[0].data["count"] == 0
