"""The process that writes the records of what is over: it replays logs, which takes seconds that no worker has.

Run by the pool as ``python -m ui_collect.simulation.records``; one thing after another, at the lowest priority. What
cannot be written because the disk is full is tried again until it can, and answered only then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from hitl_ops.contracts.errors import CannotWrite, UserError
from hitl_ops.contracts.publish import sweep_temporaries
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_log import closed_log_path, log_path
from hitl_ops.rollouts.session_closing import ClosedPlay, close_play, close_session
from hitl_ops.serving.child_process import end_with_parent
from hitl_ops.serving.wire import MessageBuffer, WireError, pack
from hitl_ops.worlds.habitat.config import SceneConfig
from hitl_ops.worlds.household.scene import SceneLost
from ui_collect.simulation.messages import RECORD_MESSAGES, ClosePlayRecord, EndSession, PlayEvent, Stop

RETRY_S = 10.0
"""Seconds between two tries to write what could not be written."""
_CHUNK = 2**16
_NICE = 10
_SCENE_TRIES = 3

Asked = ClosePlayRecord | EndSession


def close_record(asked: ClosePlayRecord, store: Store, scenes: SceneConfig | None = None) -> str:
    """Write a finished play's files; ``scenes`` says how the scene it was played in is opened.

    Returns:
        The episode file's path below the iteration's folder.

    Raises:
        UserError: see ``close_play``.
    """
    paths = store.iteration(asked.program, asked.iteration)
    folder = paths.sessions / asked.session_id
    log = log_path(folder, asked.play_id)
    closed = _closed(log if log.exists() else closed_log_path(folder, asked.play_id), scenes)
    return str(closed.episode_file.relative_to(paths.base))


def _closed(log: Path, scenes: SceneConfig | None) -> ClosedPlay:
    """Replay and close; begun anew, a few times, where the scene is lost in the middle."""
    for _ in range(_SCENE_TRIES - 1):
        try:
            return close_play(log, scenes)
        except SceneLost as error:
            print(f"a record is begun anew: {error}", file=sys.stderr, flush=True)
    return close_play(log, scenes)


def end_session(asked: EndSession, store: Store) -> str:
    """Write a session's own file; returns its path below the iteration's folder.

    Raises:
        UserError: see ``close_session``.
    """
    paths = store.iteration(asked.program, asked.iteration)
    file = close_session(paths.sessions / asked.session_id, session_error=asked.error)
    return str(file.relative_to(paths.base))


def _outcome(work: Callable[[], str]) -> dict[str, str]:
    """What became of a piece of work.

    Raises:
        CannotWrite: nothing yet: it is to be tried again.
    """
    try:
        return {"record": work(), "error": ""}
    except CannotWrite:
        raise
    except UserError as error:
        return {"record": "", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"record": "", "error": f"{type(error).__name__}: {error}"}


class Records:
    """Does what it is asked for, in the order it was asked, as far as there is room on the disk.

    Args:
        store: where the logs lie.
        answer: told what became of each thing, once it is done or known to be hopeless.
        scenes: how the scenes that plays were played in are opened.
    """

    def __init__(self, store: Store, answer: Callable[[PlayEvent], None], scenes: SceneConfig | None = None) -> None:
        self._store = store
        self._scenes = scenes
        self._answer = answer
        self._unwritten: dict[str, Asked] = {}
        self._told = ""

    @property
    def waits(self) -> bool:
        """Whether there is something that could not be written yet."""
        return bool(self._unwritten)

    def take(self, asked: Asked) -> None:
        """Do something, or have it wait: for room, or for its session's plays that wait for it."""
        if self._comes_later(asked) or not self._done(asked):
            self._unwritten[_name(asked)] = asked

    def try_again(self) -> None:
        """Try what waits, until the first that still cannot be written, which then comes last."""
        for name, asked in list(self._unwritten.items()):
            if self._comes_later(asked):
                continue
            del self._unwritten[name]
            if not self._done(asked):
                self._unwritten[name] = asked
                return
        if not self._unwritten:
            self._told = ""
            print("records that waited are written", file=sys.stderr, flush=True)

    def _comes_later(self, asked: Asked) -> bool:
        """Whether it is a session's end, and a play of it waits."""
        return isinstance(asked, EndSession) and any(
            isinstance(waiting, ClosePlayRecord) and waiting.session_id == asked.session_id
            for waiting in self._unwritten.values()
        )

    def _done(self, asked: Asked) -> bool:
        try:
            if isinstance(asked, ClosePlayRecord):
                event = PlayEvent(
                    asked.play_id, "closed", _outcome(lambda: close_record(asked, self._store, self._scenes))
                )
            else:
                event = PlayEvent(asked.session_id, "session_closed", _outcome(lambda: end_session(asked, self._store)))
        except CannotWrite as error:
            if error.what != self._told:
                self._told = error.what
                print(f"records wait and are tried again: {error}", file=sys.stderr, flush=True)
            return False
        self._answer(event)
        return True


def _name(asked: Asked) -> str:
    return asked.play_id if isinstance(asked, ClosePlayRecord) else asked.session_id


def serve(connection: socket.socket, store: Store, retry_s: float = RETRY_S, scenes: SceneConfig | None = None) -> None:
    """Do what is asked until told to stop, or until the web server has gone.

    What waits for room then is done at the web server's next start.

    Args:
        connection: to the web server.
        store: where the logs lie.
        retry_s: seconds between two tries to write what could not be written.
        scenes: how the scenes that plays were played in are opened.
    """
    records = Records(store, lambda event: connection.sendall(pack([event])), scenes)
    buffer = MessageBuffer()
    due = 0.0
    while True:
        if records.waits and time.monotonic() >= due:
            records.try_again()
            due = time.monotonic() + retry_s
        patience = max(0.0, due - time.monotonic()) if records.waits else None
        if not select.select([connection], [], [], patience)[0]:
            continue
        data = connection.recv(_CHUNK)
        if not data:
            return
        for message in buffer.feed(data):
            asked = RECORD_MESSAGES.validate_python(message)
            if isinstance(asked, Stop):
                return
            if not records.waits:
                due = time.monotonic() + retry_s
            records.take(asked)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write records until the web server says stop or goes away."""
    parser = argparse.ArgumentParser(prog="python -m ui_collect.simulation.records", description=__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the web server")
    parser.add_argument("--root", type=Path, required=True, help="the store's root")
    parser.add_argument("--scene", type=SceneConfig.model_validate_json, default=SceneConfig(), help="as JSON")
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
        serve(socket.socket(fileno=given.link), store, scenes=given.scene)
    return 0


if __name__ == "__main__":
    sys.exit(main())
