"""A process that writes a play's log without end and tells what is durable; made to be killed."""

from __future__ import annotations

import itertools
import time
from multiprocessing.connection import Connection
from pathlib import Path

from hitl_ops.records.session_events import ActEvent, ControlEvent
from hitl_ops.records.session_log import SessionLogWriter
from tests.support.plays import STARTED, header


def write_without_end(path: Path, told: Connection) -> None:
    """Begin a log, or go on with it; send ``durable_n`` whenever it has risen."""
    if path.exists():
        _, writer = SessionLogWriter.resume(path)
    else:
        writer = SessionLogWriter.create(path, header())
    last = None
    for n in itertools.count(writer.next_n):
        common = {"n": n, "tick": n // 10, "wall": STARTED + n, "seq": n}
        writer.append(ActEvent(**common, action=f"Pick[mug_{n}]") if n % 7 == 0 else ControlEvent(**common))
        if writer.durable_n != last:
            last = writer.durable_n
            told.send(last)
        time.sleep(0.0003)
