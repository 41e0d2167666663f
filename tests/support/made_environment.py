"""Environments of their own for what cannot be installed beside us; each is made once and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def made_environment(name: str, interpreter: str, packages: tuple[str, ...]) -> Path:
    """The Python of an environment; made if it is not there. Skips the test where it cannot be made.

    Args:
        name: of its folder in the cache; another one for other packages or another Python.
        interpreter: the Python it is made with.
        packages: what is installed in it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flywheel-tests"
    place = cache / name
    python = place / "bin" / "python"
    if python.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
    try:
        for words in _steps(making, interpreter, packages):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"an environment '{name}' cannot be made: {done.stderr.strip()[-300:]}")
        try:
            making.rename(place)
        except OSError:
            if not python.exists():  # its interpreter has gone since; else another worker was quicker
                shutil.rmtree(place)
                making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return python


def _steps(folder: Path, interpreter: str, packages: tuple[str, ...]) -> list[list[str]]:
    """The commands that make it: by uv where there is one, which is quicker, else by Python itself."""
    ours = [_ROOT / ".uv" / "bin" / "uv", _ROOT / ".uv" / "lib" / "bin" / "uv"]
    uv = next((str(path) for path in ours if path.exists()), None) or shutil.which("uv")
    python = str(folder / "bin" / "python")
    if uv is not None:
        make = [uv, "venv", "--quiet", "--clear", "--relocatable", "--python", interpreter, str(folder)]
        install = [uv, "pip", "install", "--quiet", "--python", python, *packages]
    else:
        make = [interpreter, "-m", "venv", *([] if packages else ["--without-pip"]), str(folder)]
        install = [python, "-m", "pip", "install", "--quiet", *packages]
    return [make, install] if packages else [make]
