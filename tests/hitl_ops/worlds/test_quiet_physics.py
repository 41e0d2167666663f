"""PyBullet without what it says: a process's streams hold what Python wrote, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TWO_ARMS = """
import ctypes, os, sys
from hitl_ops.worlds.reach.arms import ReachArms
from hitl_ops.worlds.reach.config import ReachConfig
libc = ctypes.CDLL(None)
print("before", flush=True)
libc.printf(b"held back by C\\n")
for _ in range(2):
    arms = ReachArms(1, ReachConfig())
    arms.begin([0], [0])
    arms.close()
libc.fflush(None)
print("after")
print("trouble", file=sys.stderr)
"""
_MANY_THREADS = """
import threading
from hitl_ops.worlds.quiet_physics import connect_quietly, quiet_pybullet
def connect():
    for _ in range(5):
        bullet = quiet_pybullet()
        bullet.disconnect(connect_quietly(bullet))
threads = [threading.Thread(target=connect) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("still heard")
"""
_NO_STREAMS = """
import os, sys
from hitl_ops.worlds.quiet_physics import connect_quietly, quiet_pybullet
os.close(1)
os.close(2)
connect_quietly(quiet_pybullet())
open(sys.argv[1], "w").write("connected")
"""


def _run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_both_streams_hold_what_was_written_and_nothing_else() -> None:
    done = _run(_TWO_ARMS)
    assert (done.returncode, done.stderr) == (0, "trouble\n")
    assert done.stdout == "before\nheld back by C\nafter\n"


@pytest.mark.slow
def test_threads_that_connect_at_once_leave_the_streams_as_they_were() -> None:
    done = _run(_MANY_THREADS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still heard\n", "")


@pytest.mark.slow
def test_a_process_without_streams_connects_too(tmp_path: Path) -> None:
    done = _run(_NO_STREAMS, str(tmp_path / "said"))
    assert done.returncode == 0 and (tmp_path / "said").read_text() == "connected"
