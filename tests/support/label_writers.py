"""Letting several writer processes begin at the same moment."""

from __future__ import annotations

import subprocess


def go(*writers: subprocess.Popen[str]) -> None:
    """Wait until all writers are ready, then let them all begin."""
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
