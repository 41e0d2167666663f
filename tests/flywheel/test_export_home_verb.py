"""``flywheel export-home`` as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hitl_ops.worlds.habitat.home_manifest import read_manifest


def export_home(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flywheel", "export-home", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_home_becomes_files(tmp_path: Path) -> None:
    done = export_home("flywheel_val_000", "--out", str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "home")
    assert manifest.scene_id == "flywheel_val_000" and len(manifest.objects) > 60
    for file in (manifest.files.home, manifest.files.stage, "manifest.json", "objects/", "moving/"):
        assert file in done.stdout
    kilobytes = f"{(tmp_path / 'home' / manifest.files.home).stat().st_size / 1000:.1f}"
    assert kilobytes in done.stdout and "…" not in done.stdout


def test_mistakes_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for words, named in (
        (("flywheel_val_000", "--out", str(tmp_path / "mine")), "holds something else"),
        (("hssd_17", "--out", str(tmp_path / "home")), "'hssd_17' is missing"),
    ):
        done = export_home(*words)
        assert done.returncode == 2 and named in done.stderr and done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "letter.txt"]
