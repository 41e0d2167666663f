"""An environment of its own for openpi-client, which pins an older NumPy than ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

VERSION = "0.1.2"
_PACKAGES = (f"openpi-client=={VERSION}", "typing-extensions")  # which it uses without saying so
_ROOT = Path(__file__).resolve().parents[2]


def openpi_python() -> Path:
    """The Python of an environment with openpi-client; made once a machine. Skips the test where it cannot be made."""
    place = Path(tempfile.gettempdir()) / f"flywheel-openpi-client-{VERSION}-{os.getuid()}"
    python = place / "bin" / "python"
    if python.exists():
        return python
    ours = [_ROOT / ".uv" / "bin" / "uv", _ROOT / ".uv" / "lib" / "bin" / "uv"]
    uv = next((str(path) for path in ours if path.exists()), None) or shutil.which("uv")
    if uv is None:
        pytest.skip("no uv to make an environment for openpi-client with")
    making = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
    for words in (
        ["venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(making)],
        ["pip", "install", "--quiet", "--python", str(making / "bin" / "python"), *_PACKAGES],
    ):
        done = subprocess.run([uv, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(making, ignore_errors=True)
            pytest.skip(f"openpi-client {VERSION} cannot be installed: {done.stderr.strip()[-300:]}")
    try:
        making.rename(place)
    except OSError:  # another worker was quicker
        shutil.rmtree(making, ignore_errors=True)
    return python
