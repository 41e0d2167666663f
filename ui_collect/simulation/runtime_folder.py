"""A private folder for one server's sockets; those of servers that were killed are cleared away."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_PREFIX = "flywheel-collect-"
_NAME = re.compile(rf"^{_PREFIX}(\d+)-\w+$")


def make_runtime_folder() -> Path:
    """A new folder that only this user may enter (mode 0700), named after this process."""
    clear_left_folders()
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def clear_left_folders() -> None:
    """Remove this user's runtime folders whose process has ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = _NAME.match(folder.name)
        try:
            if match is None or folder.stat().st_uid != os.getuid() or _runs(int(match[1])):
                continue
        except OSError:
            continue  # somebody else has cleared it away
        shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
