"""An environment of its own for openpi-client, which pins an older NumPy than ours."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.made_environment import made_environment

VERSION = "0.1.2"
_PACKAGES = (f"openpi-client=={VERSION}", "typing-extensions")  # which it uses without saying so


def openpi_python() -> Path:
    """The Python of an environment with openpi-client. Skips the test where it cannot be made."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    return made_environment(f"python{ours}-openpi-client-{VERSION}", sys.executable, _PACKAGES)
