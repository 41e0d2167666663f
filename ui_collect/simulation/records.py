"""The process that writes the records of what is over: it replays logs, which takes seconds that no worker has.

Run by the pool as ``python -m ui_collect.simulation.records``; one thing after another, at the lowest priority.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import closed_log_path, log_path
from hitl_ops.rollouts.session_closing import close_play, close_session
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.wire import MessageBuffer, WireError, pack
from ui_collect.simulation.messages import RECORD_MESSAGES, ClosePlayRecord, EndSession, PlayEvent, Stop

_CHUNK = 2**16
_NICE = 10


def close_record(asked: ClosePlayRecord, store: Store) -> str:
    """Write a finished play's files.

    Returns:
        The episode file's path below the iteration's folder.

    Raises:
        UserError: see ``close_play``.
    """
    paths = store.iteration(asked.program, asked.iteration)
    folder = paths.sessions / asked.session_id
    log = log_path(folder, asked.play_id)
    closed = close_play(log if log.exists() else closed_log_path(folder, asked.play_id))
    return str(closed.episode_file.relative_to(paths.base))


def end_session(asked: EndSession, store: Store) -> str:
    """Write a session's own file; returns its path below the iteration's folder.

    Raises:
        UserError: see ``close_session``.
    """
    paths = store.iteration(asked.program, asked.iteration)
    file = close_session(paths.sessions / asked.session_id, session_error=asked.error)
    return str(file.relative_to(paths.base))


def _outcome(work: Callable[[], str]) -> dict[str, str]:
    try:
        return {"record": work(), "error": ""}
    except UserError as error:
        return {"record": "", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"record": "", "error": f"{type(error).__name__}: {error}"}


def serve(connection: socket.socket, store: Store) -> None:
    """Do what is asked until told to stop, or until the web server has gone."""
    buffer = MessageBuffer()
    while data := connection.recv(_CHUNK):
        for message in buffer.feed(data):
            event = _answer(RECORD_MESSAGES.validate_python(message), store)
            if event is None:
                return
            connection.sendall(pack([event]))


def _answer(asked: Any, store: Store) -> PlayEvent | None:
    match asked:
        case ClosePlayRecord():
            return PlayEvent(asked.play_id, "closed", _outcome(lambda: close_record(asked, store)))
        case EndSession():
            return PlayEvent(asked.session_id, "session_closed", _outcome(lambda: end_session(asked, store)))
        case Stop():
            return None
    raise WireError(f"nobody asks {type(asked).__name__} of the process that keeps records")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write records until the web server says stop or goes away."""
    parser = argparse.ArgumentParser(prog="python -m ui_collect.simulation.records", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the web server")
    parser.add_argument("--root", type=Path, required=True, help="the store's root")
    parser.add_argument("--parent", type=int, default=0, help="process id to end with")
    given = parser.parse_args(arguments)
    if given.parent:
        end_with_parent(given.parent)
    os.nice(_NICE)
    # Ended in the middle of a file, it takes its temporary with it; what a kill left behind goes now.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    store = Store.at(given.root)
    for sessions in store.root.glob("*/*/sessions"):
        sweep_temporaries(sessions)
    # When the web server has gone, what is not done is done at its next start.
    with contextlib.suppress(OSError, WireError):
        serve(socket.socket(fileno=given.link), store)
    return 0


if __name__ == "__main__":
    sys.exit(main())
