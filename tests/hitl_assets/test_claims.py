"""A folder goes on being filled only from the same things."""

from __future__ import annotations

from pathlib import Path

from hitl_assets.claims import NOTE, claim


def test_keeps_what_is_made_from_the_same_things(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    assert not claim(folder, {"samples": "abc", "rank": (1, 2)})
    (folder / "checkpoint").write_text("half-way")
    assert claim(folder, {"samples": "abc", "rank": (1, 2)})
    assert (folder / "checkpoint").exists()


def test_starts_over_when_anything_changed(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    claim(folder, {"samples": "abc"})
    (folder / "checkpoint").write_text("half-way")
    assert not claim(folder, {"samples": "abd"})
    assert not (folder / "checkpoint").exists()
    assert claim(folder, {"samples": "abd"})


def test_starts_over_when_the_note_is_missing_or_broken(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "checkpoint").write_text("whose?")
    assert not claim(folder, {"samples": "abc"})
    assert not (folder / "checkpoint").exists()
    (folder / NOTE).write_text("{")
    assert not claim(folder, {"samples": "abc"})
