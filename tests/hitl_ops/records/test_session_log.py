"""A play's log: what it says is durable stays, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import multiprocessing
import os
import random
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.played_scene import PlayedScene, SceneKind
from hitl_ops.records import session_log
from hitl_ops.records.log_flusher import LogFlusher
from hitl_ops.records.session_events import ActEvent, ControlEvent, FinishEvent, MarkEvent, SessionEvent
from hitl_ops.records.session_log import (
    SessionLogWriter,
    closed_log_path,
    list_session_logs,
    log_path,
    play_of,
    read_session_log,
    sealed,
)
from tests.support.log_writing_process import write_without_end
from tests.support.plays import STARTED, header

LONG = 1e6


@pytest.fixture
def flusher() -> Iterator[LogFlusher]:
    """One that flushes only what is urgent within a test's time."""
    made = LogFlusher(threads=2, seconds=LONG)
    yield made
    made.close()


def mark(n: int, tick: int = 0) -> MarkEvent:
    return MarkEvent(n=n, tick=tick, wall=STARTED)


def act(n: int) -> ActEvent:
    return ActEvent(n=n, tick=n, wall=STARTED + n, seq=n, action="Pick[mug_1]")


def finish(n: int) -> FinishEvent:
    return FinishEvent(
        n=n, tick=n, wall=STARTED + n, reason="time", success=False, percent_complete=0.0, state_hash="0a"
    )


def written(path: Path, events: list[SessionEvent]) -> bytes:
    with SessionLogWriter.create(path, header()) as writer:
        for event in events:
            writer.append(event)
    return path.read_bytes()


def soon(condition: object, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


# --- reading ------------------------------------------------------------------------------------------------------


def test_what_was_written_is_read(tmp_path: Path) -> None:
    events: list[SessionEvent] = [
        mark(0),
        act(1),
        ControlEvent(n=2, tick=2, wall=STARTED, seq=9, turn=-0.25),
        finish(3),
    ]
    path = log_path(tmp_path / "sessions" / "s1", "p1")
    written(path, events)
    log = read_session_log(path)
    assert (log.header, log.events, log.torn) == (header(), events, False)
    assert log.finish == events[-1]
    closed = closed_log_path(path.parent, "p1")
    closed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_session_log(closed).events == events
    assert list_session_logs(path.parent) == [path, closed]
    assert list_session_logs(path.parent, closed=True) == [closed]
    assert list_session_logs(path.parent, closed=False) == [path]
    assert list_session_logs(tmp_path / "nowhere") == []
    assert {play_of(path), play_of(closed)} == {"p1"}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["kinematic", "habitat"]), backend=st.text(max_size=200), dataset=st.text(max_size=4096))
def test_a_header_tells_the_scene_to_replay_in(tmp_path: Path, kind: SceneKind, backend: str, dataset: str) -> None:
    told = header(scene=kind, scene_backend=backend, scene_dataset=dataset)
    path = log_path(tmp_path, "p1")
    path.write_bytes(sealed(told.model_dump_json()))
    read = read_session_log(path).header
    assert read == told and read.played_scene == PlayedScene(kind, told.episode.scene_id, backend, dataset)


@pytest.mark.parametrize("kind", ["kinematic", "habitat"])
def test_a_log_from_before_scenes_were_told_in_full_is_read(tmp_path: Path, kind: SceneKind) -> None:
    told = header(scene=kind).model_dump(mode="json", exclude={"scene_backend", "scene_dataset"})
    path = log_path(tmp_path, "p1")
    path.write_bytes(sealed(json.dumps(told)))
    assert read_session_log(path).header.played_scene == PlayedScene(kind, told["episode"]["scene_id"])


def test_half_a_last_line_is_passed_over_wherever_it_breaks(tmp_path: Path) -> None:
    path = log_path(tmp_path, "p1")
    whole = written(path, [act(0), act(1), act(2)])
    lines = whole.splitlines(keepends=True)
    start = len(whole) - len(lines[-1])
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        log = read_session_log(path)
        assert (log.events, log.torn, log.sound_bytes) == ([act(0), act(1)], cut > start, start)
    with SessionLogWriter.resume(path)[1] as writer:
        assert (writer.next_n, writer.durable_n) == (2, 1)
        assert path.read_bytes() == whole[:start]
        writer.append(act(2))
    assert path.read_bytes() == whole


def test_any_damage_elsewhere_is_told_with_its_line(tmp_path: Path) -> None:
    path = log_path(tmp_path, "p1")
    whole = written(path, [act(0), mark(1, 3), act(2).model_copy(update={"tick": 3}), finish(3)])
    lines = whole.splitlines(keepends=True)
    ends = [sum(map(len, lines[: number + 1])) for number in range(len(lines))]
    # Every byte of the events, and some of the long header.
    for place in [*range(0, ends[0], 97), *range(ends[0], len(whole))]:
        for flip in (0x01, 0x20):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            line = next(number for number, end in enumerate(ends, start=1) if place < end)
            if place == len(whole) - 1:
                # The last line end: then the last line has none, and is half a line.
                assert read_session_log(path).torn
                continue
            with pytest.raises(UserError) as caught:
                read_session_log(path)
            assert f"'{path}', line {line}: " in str(caught.value)
    for number in range(len(lines)):
        path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]) if number < len(lines) - 1 else b"")
        with pytest.raises(UserError, match="line "):
            read_session_log(path)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([mark(1)], "line 2: is event 1, expected event 0"),
        ([mark(0, 5), mark(1, 4)], "line 3: happens at tick 4, after tick 5"),
        ([finish(0), mark(1, 9)], "line 3: follows the finish"),
        ([header()], "line 2: unable to extract tag"),
    ],
)
def test_sound_lines_that_make_no_sense_are_told(tmp_path: Path, lines: list[SessionEvent], said: str) -> None:
    path = log_path(tmp_path, "p1")
    path.write_bytes(b"".join(sealed(row.model_dump_json()) for row in [header(), *lines]))
    with pytest.raises(UserError, match=said):
        read_session_log(path)


def test_headers_that_make_no_sense_are_told(tmp_path: Path) -> None:
    path = log_path(tmp_path, "p1")
    path.write_bytes(sealed(mark(0).model_dump_json()))
    with pytest.raises(UserError, match="line 1: field"):
        read_session_log(path)
    path.write_bytes(sealed(header(roles={0: "ai", 1: "ai"}).model_dump_json()))
    with pytest.raises(UserError, match="line 1: needs one human and one ai"):
        read_session_log(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="line 1: the header is missing"):
        read_session_log(path)
    with pytest.raises(UserError, match="does not exist"):
        read_session_log(tmp_path / "nothing.log.jsonl")
    closed = closed_log_path(tmp_path, "p1")
    closed.write_bytes(gzip.compress(sealed(header().model_dump_json()))[:-5])
    with pytest.raises(UserError, match="is damaged"):
        read_session_log(closed)
    closed.write_bytes(gzip.compress(sealed(header().model_dump_json())[:-1]))
    with pytest.raises(UserError, match="line 1: has no end"):
        read_session_log(closed)


@pytest.mark.parametrize("play_id", ["../x", "a/b", "", "A", "x\n", ".hidden", "a" * 65, "a.part-b", "\x00"])
def test_no_path_is_made_of_anything_else(tmp_path: Path, play_id: str) -> None:
    with pytest.raises(UserError, match="is not one of ours"):
        log_path(tmp_path, play_id)
    with pytest.raises(ValueError, match="pattern"):
        header(play_id)


# --- writing ------------------------------------------------------------------------------------------------------


def test_urgent_events_are_durable_at_once_and_take_the_others_along(tmp_path: Path, flusher: LogFlusher) -> None:
    path = log_path(tmp_path, "p1")
    writer = SessionLogWriter.create(path, header(), flusher=flusher)
    assert (writer.next_n, writer.durable_n) == (0, -1)
    assert read_session_log(path).events == []
    writer.append(mark(0))
    writer.append(mark(1))
    assert (writer.next_n, writer.durable_n) == (2, -1)
    writer.append(act(2))
    soon(lambda: writer.durable_n == 2)
    assert len(read_session_log(path).events) == 3
    writer.append(mark(3, 3))
    assert writer.durable_n == 2
    writer.close()
    assert writer.durable_n == 3
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(mark(4, 4))


def test_events_that_are_not_urgent_follow_within_their_time(tmp_path: Path) -> None:
    flusher = LogFlusher(threads=1, seconds=0.01)
    writer = SessionLogWriter.create(log_path(tmp_path, "p1"), header(), flusher=flusher)
    for n in range(5):
        writer.append(mark(n))
        soon(lambda n=n: writer.durable_n == n)
    writer.close()
    flusher.close()


def test_many_logs_and_threads_share_a_flusher(tmp_path: Path) -> None:
    flusher = LogFlusher(threads=3, seconds=0.005)
    writers = [SessionLogWriter.create(log_path(tmp_path, f"p{i}"), header(f"p{i}"), flusher=flusher) for i in range(8)]

    def write(writer: SessionLogWriter) -> None:
        for n in range(200):
            writer.append(act(n) if n % 20 == 0 else mark(n, n))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    soon(lambda: all(writer.durable_n == 199 for writer in writers))
    flusher.close()
    for writer in writers:
        assert len(read_session_log(writer.path).events) == 200
        writer.close()


def test_numbers_have_no_gaps(tmp_path: Path, flusher: LogFlusher) -> None:
    with SessionLogWriter.create(log_path(tmp_path, "p1"), header(), flusher=flusher) as writer:
        with pytest.raises(ValueError, match="event 1 appended where event 0 is due"):
            writer.append(mark(1))
        writer.append(mark(0))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_is_just_being_started_does_not_keep_a_log(tmp_path: Path, flusher: LogFlusher) -> None:
    """Between fork and exec it has a copy of the descriptor, and with it the lock."""
    path = log_path(tmp_path, "p1")
    writer = SessionLogWriter.create(path, header(), flusher=flusher)
    held, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        os.read(held, 1)
        os._exit(0)
    try:
        writer.close()
        SessionLogWriter.resume(path, flusher=flusher)[1].close()
    finally:
        os.close(held)
        os.close(let_go)
        os.waitpid(child, 0)


def test_one_process_holds_a_log(tmp_path: Path, flusher: LogFlusher) -> None:
    path = log_path(tmp_path, "p1")
    with SessionLogWriter.create(path, header(), flusher=flusher):
        with pytest.raises(UserError, match="being written by another process"):
            SessionLogWriter.resume(path)
        with pytest.raises(UserError, match="exists already"):
            SessionLogWriter.create(path, header())
    log, writer = SessionLogWriter.resume(path, flusher=flusher)
    assert log.events == []
    writer.append(finish(0))
    writer.close()
    with pytest.raises(UserError, match="the play is over"):
        SessionLogWriter.resume(path)
    with pytest.raises(UserError, match="the play is over"):
        SessionLogWriter.resume(path)  # the refusal before has let go of the file
    with pytest.raises(UserError, match="does not exist"):
        SessionLogWriter.resume(log_path(tmp_path, "p2"))


def test_a_full_disk_is_told_and_nothing_is_half_written(
    tmp_path: Path, flusher: LogFlusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_path(tmp_path, "p1")
    writer = SessionLogWriter.create(path, header(), flusher=flusher)
    writer.append(act(0))
    soon(lambda: writer.durable_n == 0)
    before = path.read_bytes()
    real = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if offset > len(before):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, bytes(content)[:30], offset)

    monkeypatch.setattr(session_log.os, "pwrite", full)
    writer.append(act(1))
    soon(lambda: writer.error is not None)
    assert "disk full while writing" in str(writer.error)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="disk full"):
        writer.append(act(2))
    assert (writer.next_n, writer.durable_n) == (2, 0)
    assert not writer.retry()
    monkeypatch.setattr(session_log.os, "pwrite", real)
    assert writer.retry()
    assert (writer.error, writer.durable_n) == (None, 1)
    writer.append(act(2))
    writer.close()
    assert read_session_log(path).events == [act(0), act(1), act(2)]


def test_a_sync_that_fails_is_not_taken_for_durable(
    tmp_path: Path, flusher: LogFlusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_path(tmp_path, "p1")
    writer = SessionLogWriter.create(path, header(), flusher=flusher)

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(session_log.os, "fdatasync", broken)
        writer.append(act(0))
        soon(lambda: writer.error is not None)
        assert writer.durable_n == -1
        with pytest.raises(UserError, match="cannot be written"):
            writer.close()
        assert read_session_log(path).events == []
    writer.close()
    assert (writer.durable_n, read_session_log(path).events) == (0, [act(0)])


def test_a_limit_on_the_files_size_ends_at_a_whole_line(tmp_path: Path, flusher: LogFlusher) -> None:
    path = log_path(tmp_path, "p1")
    writer = SessionLogWriter.create(path, header(), flusher=flusher)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, hard))
    try:
        n = 0
        with contextlib.suppress(UserError):
            for n in range(100):
                writer.append(mark(n))
                writer.flush()
        assert writer.error is not None
        assert 0 < writer.durable_n < n
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log = read_session_log(path)
    assert not log.torn
    assert len(log.events) == writer.durable_n + 1
    assert writer.retry()
    assert len(read_session_log(path).events) == writer.next_n
    writer.close()


@pytest.mark.slow
def test_what_was_told_durable_survives_any_kill(tmp_path: Path) -> None:
    path = log_path(tmp_path, "p1")
    chance = random.Random(5)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.log_writing_process"])
    for _ in range(20):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=write_without_end, args=(path, theirs))
        process.start()
        theirs.close()
        told = ours.recv()  # it is up and writing
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                told = ours.recv()
        log = read_session_log(path)
        assert len(log.events) > told
        assert [event.n for event in log.events] == list(range(len(log.events)))
