"""The process that keeps records: what a full disk held up is written as soon as there is room, by the same process."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hitl_ops.contracts import publish
from hitl_ops.contracts.store import Store
from hitl_ops.records.session_export import episode_file_path, read_session_file
from hitl_ops.records.session_log import SessionLogWriter, closed_log_path, log_path
from hitl_ops.serving.wire import MessageBuffer, pack
from tests.support.plays import Player, header
from ui_collect.simulation.messages import ClosePlayRecord, EndSession, Stop
from ui_collect.simulation.records import serve

SESSION, OTHER = "00000000000000aa", "00000000000000bb"
PLAY, SECOND = "0000000000000001", "0000000000000002"


class Disk:
    """The disk under the test: full or not."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.tries = 0
        self._sync = publish._fsync
        patch.setattr(publish, "_fsync", self._synced)

    def _synced(self, path: Path) -> None:
        if self.full:
            self.tries += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._sync(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def play(store: Store, play_id: str, session_id: str = SESSION) -> Path:
    """A finished play of the small task, its log not closed; returns its session's folder."""
    folder = store.iteration("planner", 0).sessions / session_id
    head = header(play_id, session_id=session_id)
    with SessionLogWriter.create(log_path(folder, play_id), head) as writer:
        player = Player(head, writer=writer)
        player.run(30)
        player.finish("skip")
    return folder


class Server:
    """The web server's end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = MessageBuffer()
        self._said: list[Any] = []

    def ask(self, asked: ClosePlayRecord | EndSession | Stop) -> None:
        self._end.sendall(pack(asked.model_dump()))

    def close(self, play_id: str, session_id: str = SESSION) -> None:
        self.ask(ClosePlayRecord(play_id=play_id, session_id=session_id, iteration="000"))

    def hear(self) -> tuple[str, str, dict[str, str]]:
        """The next thing said."""
        while not self._said:
            data = self._end.recv(2**16)
            assert data, "it has gone"
            self._said += [event for message in self._buffer.feed(data) for event in message]
        play_id, kind, payload = self._said.pop(0)
        return play_id, kind, payload

    def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing is said for a while."""
        return not self._said and not select.select([self._end], [], [], seconds)[0]


@contextmanager
def keeping(store: Store) -> Iterator[Server]:
    """The records process's loop, in a thread."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        thread = threading.Thread(target=serve, args=(theirs, store, 0.02))
        thread.start()
        server = Server(ours)
        try:
            yield server
        finally:
            server.ask(Stop())
            thread.join(timeout=60)
            assert not thread.is_alive()


def test_what_a_full_disk_held_up_is_written_when_there_is_room(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.at(tmp_path)
    folder = play(store, PLAY)
    disk.full = True
    with keeping(store) as server:
        server.close(PLAY)
        # A session's own file is made of its plays' files: it waits for them.
        server.ask(EndSession(session_id=SESSION, iteration="000"))
        while disk.tries < 4:
            assert server.silent()
        assert log_path(folder, PLAY).exists() and not closed_log_path(folder, PLAY).exists()
        disk.full = False
        assert server.hear() == (PLAY, "closed", {"record": f"sessions/{SESSION}/{PLAY}.json.gz", "error": ""})
        assert server.hear()[1:] == (
            "session_closed",
            {"record": f"sessions/{SESSION}/session.json.gz", "error": ""},
        )
        assert server.silent()
    assert closed_log_path(folder, PLAY).exists() and not log_path(folder, PLAY).exists()
    assert [row.play_id for row in read_session_file(folder / "session.json.gz").episodes] == [PLAY]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2, told
    assert "disk full" in told[0] and "are written" in told[1]


def test_one_that_stays_in_the_way_holds_nobody_else_up(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    blocked, free = play(store, PLAY), play(store, SECOND, OTHER)
    (blocked / "traces").write_text("in the way")
    with keeping(store) as server:
        server.close(PLAY)
        server.close(SECOND, OTHER)
        assert server.hear()[0] == SECOND
        assert server.silent()
        (blocked / "traces").unlink()
        assert server.hear() == (PLAY, "closed", {"record": f"sessions/{SESSION}/{PLAY}.json.gz", "error": ""})
    assert episode_file_path(free, SECOND).exists()


def test_what_can_never_be_written_is_answered_at_once(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    with keeping(store) as server:
        server.close(PLAY)
        play_id, kind, payload = server.hear()
        assert (play_id, kind, payload["record"]) == (PLAY, "closed", "") and "does not exist" in payload["error"]


def test_it_ends_while_something_waits(tmp_path: Path, disk: Disk) -> None:
    store = Store.at(tmp_path)
    folder = play(store, PLAY)
    disk.full = True
    with keeping(store) as server:
        server.close(PLAY)
        assert server.silent()
    assert log_path(folder, PLAY).exists()
