"""An environment with Python 3.9, NumPy and msgpack: the oldest that a scene's worker runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.made_environment import made_environment


def python39() -> Path:
    """Its Python. Skips the test where it cannot be made."""
    interpreter = _interpreter()
    if interpreter is None:
        pytest.skip("no Python 3.9 on the PATH or among pyenv's versions")
    return made_environment("python3.9-scene-worker", interpreter, ("numpy", "msgpack>=1.1,<2"))


def _interpreter() -> str | None:
    found = shutil.which("python3.9")
    if found is not None and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return found  # a shim of pyenv's may name a version that is not chosen
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    versions = sorted(root.glob("versions/3.9.*/bin/python"))
    return str(versions[-1]) if versions else None
