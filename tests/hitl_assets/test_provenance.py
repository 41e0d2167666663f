"""Versions change with what they stand for, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_assets import provenance


def test_manifest_hash_sees_names_and_contents_not_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("one")
    second.write_text("two")
    before = provenance.manifest_hash([first, second], relative_to=tmp_path)
    assert provenance.manifest_hash([second, first], relative_to=tmp_path) == before
    second.write_text("three")
    assert provenance.manifest_hash([first, second], relative_to=tmp_path) != before
    second.write_text("two")
    third = second.rename(tmp_path / "c.txt")
    assert provenance.manifest_hash([first, third], relative_to=tmp_path) != before
    assert provenance.manifest_hash([first], relative_to=tmp_path) != before


def test_code_version_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").mkdir()
    source = tmp_path / "samples" / "build.py"
    source.write_text("x = 1\n")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "loop.py").write_text("y = 1\n")
    monkeypatch.setattr(provenance, "_ROOMS", tmp_path)
    fresh = provenance.code_version.__wrapped__
    before, other = fresh("samples"), fresh("training")
    assert before != other
    source.write_text("x = 2\n")
    assert fresh("samples") != before
    assert fresh("training") == other
    with pytest.raises(FileNotFoundError):
        fresh("kitchen")
