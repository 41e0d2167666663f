"""The same command in several processes at once, joined for distributed training."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import NoReturn


def is_joined() -> bool:
    """Whether this process is already one of several, started by torchrun or by :func:`run_joined`."""
    return "RANK" in os.environ


def is_first() -> bool:
    """Whether this process is the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


def leave_after_the_first() -> None:
    """Give the first process the time to say what all of them have met, before this one ends and takes it along."""
    if not is_first():
        time.sleep(2.0)


def leave(code: int) -> NoReturn:
    """End this process, one of several, by a mistake or because another one has ended.

    At once: the launcher ends the others as soon as one has, and whoever is told to while libraries clean up after
    themselves prints pages that say nothing.

    Args:
        code: the exit code.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run_joined(processes: int, arguments: list[str]) -> int:
    """Run ``flywheel <arguments>`` in ``processes`` processes on this machine.

    Args:
        processes: how many; each gets its ``RANK``.
        arguments: the words after ``flywheel``.

    Returns:
        The exit code: 0, or that of the process that failed first.

    Raises:
        KeyboardInterrupt: this process was interrupted; the others have ended.
        SystemExit: it was told to end in another way; the others have ended.
    """
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The processes say themselves what is wrong; the launcher would add a page of its own.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(launch, sys.executable)("-m", "flywheel", *arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 1
    except SignalException as told:
        # The launcher's own kind of exception, raised once it has passed the signal on and waited.
        raise (KeyboardInterrupt if told.sigval == signal.SIGINT else SystemExit(128 + told.sigval)) from None
    return 0
