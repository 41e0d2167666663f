"""An encoder that raises its own priority does not keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hitl_ops.records.encoder_priority import give_up_real_time
from hitl_ops.records.video_encoding import LEROBOT_DEFAULT, encode_video

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may run at a real-time priority"
)

REALTIME = """
import os, threading, time
from hitl_ops.records.encoder_priority import give_up_real_time
assert give_up_real_time() == 0
thread = threading.Thread(target=time.sleep, args=(5,), daemon=True)
thread.start()
for one in (0, thread.native_id):
    os.sched_setscheduler(one, os.SCHED_FIFO, os.sched_param(99))
assert give_up_real_time() == 2
assert {os.sched_getscheduler(int(one)) for one in os.listdir("/proc/self/task")} == {os.SCHED_OTHER}
"""


@needs_root
def test_real_time_threads_become_ordinary_ones() -> None:
    done = subprocess.run([sys.executable, "-c", REALTIME], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_av1_is_encoded_without_taking_the_machine(tmp_path: Path) -> None:
    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        for number in range(6):
            if number > 3:
                assert give_up_real_time() == 0
            yield np.full((64, 64, 3), 40 * number, np.uint8)

    encode_video(pictures(), 6, tmp_path / "a.mp4", 50, LEROBOT_DEFAULT, "a camera")
    assert give_up_real_time() == 0
