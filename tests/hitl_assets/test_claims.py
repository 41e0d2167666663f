"""A folder goes on being filled only from the same things."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitl_assets.claims import NOTE, claim
from hitl_ops.contracts.errors import UserError


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


def test_leaves_alone_what_somebody_else_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "weights").write_text("whose?")
    with pytest.raises(UserError, match="move them away"):
        claim(folder, {"samples": "abc"})
    assert (folder / "weights").read_text() == "whose?"


def test_what_a_kill_left_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / f"{NOTE}.part-0123abcd").write_text("{")
    assert not claim(folder, {"samples": "abc"})
    assert [file.name for file in folder.iterdir()] == [NOTE]
    assert [file.name for file in tmp_path.iterdir()] == ["policy"]
