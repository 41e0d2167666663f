"""Environments that tests make for themselves: once, whole, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.made_environment import made_environment


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "flywheel-tests"


@pytest.mark.parametrize("with_uv", [True, False], ids=["as here", "without uv"])
def test_it_is_made_once_and_anew_where_it_has_lost_its_python(
    cache: Path, monkeypatch: pytest.MonkeyPatch, with_uv: bool
) -> None:
    if not with_uv:
        monkeypatch.setattr("tests.support.made_environment._ROOT", cache)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
    python = made_environment("bare", sys.executable, ())
    told = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()) == cache / "bare"
    mark = cache / "bare" / "mark"
    mark.touch()
    assert made_environment("bare", "/nowhere/python", ("no-such-package",)) == python and mark.exists()
    python.unlink()
    assert made_environment("bare", sys.executable, ()) == python
    assert python.exists() and not mark.exists()
    assert [place.name for place in cache.iterdir()] == ["bare"], "nothing half-made is left"


def test_what_cannot_be_made_skips_with_the_reason_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'it has no venv' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(pytest.skip.Exception, match=r"'bare' cannot be made: (.|\n)*it has no venv"):
        made_environment("bare", str(broken), ())
    assert not list(cache.iterdir())
