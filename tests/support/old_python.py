"""An environment with Python 3.9, NumPy and msgpack: the oldest that a scene's worker runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("numpy", "msgpack>=1.1,<2")


def python39() -> Path:
    """Its Python; made once a user. Skips the test where it cannot be made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flywheel-tests"
    place = cache / "python3.9-scene-worker"
    python = place / "bin" / "python"
    if python.exists():
        return python
    interpreter = _interpreter()
    if interpreter is None:
        pytest.skip("no Python 3.9 on the PATH or among pyenv's versions")
    ours = [_ROOT / ".uv" / "bin" / "uv", _ROOT / ".uv" / "lib" / "bin" / "uv"]
    uv = next((str(path) for path in ours if path.exists()), None) or shutil.which("uv")
    cache.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=cache))
    if uv is not None:
        steps = [
            [uv, "venv", "--quiet", "--clear", "--relocatable", "--python", interpreter, str(making)],
            [uv, "pip", "install", "--quiet", "--python", str(making / "bin" / "python"), *_PACKAGES],
        ]
    else:
        steps = [
            [interpreter, "-m", "venv", str(making)],
            [str(making / "bin" / "python"), "-m", "pip", "install", "--quiet", *_PACKAGES],
        ]
    for words in steps:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(making, ignore_errors=True)
            pytest.skip(f"an environment with Python 3.9 cannot be made: {done.stderr.strip()[-300:]}")
    try:
        making.rename(place)
    except OSError:  # another worker was quicker
        shutil.rmtree(making, ignore_errors=True)
    return python


def _interpreter() -> str | None:
    found = shutil.which("python3.9")
    if found is not None and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return found  # a shim of pyenv's may name a version that is not chosen
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    versions = sorted(root.glob("versions/3.9.*/bin/python"))
    return str(versions[-1]) if versions else None
