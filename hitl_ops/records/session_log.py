"""The log of one play: a header, then every event, in a file that only grows until the play is over.

A line is a JSON object whose last member, ``crc``, is the CRC-32 of the text before it: a damaged line is known as
such, whatever the damage left readable. A writer that was killed may leave half a line at the end; readers pass over
it, because nothing without its line end was ever acknowledged. Closed logs are gzip-compressed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import os
import re
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hitl_ops.contracts.decision import Role
from hitl_ops.contracts.episode import Episode
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.file_lock import unlock_and_close
from hitl_ops.contracts.played_scene import PlayedScene, SceneKind
from hitl_ops.contracts.publish import TEMPORARY_MARK, disk_errors_named, publish_bytes
from hitl_ops.records.log_flusher import LogFlusher, process_flusher
from hitl_ops.records.session_events import SESSION_EVENT, URGENT_KINDS, FinishEvent, SessionEvent
from hitl_ops.worlds.household.prompts import PromptStyle

LOG_SUFFIX = ".log.jsonl"
CLOSED_LOG_SUFFIX = ".log.jsonl.gz"
_ID = r"^[a-z0-9][a-z0-9-]{0,63}$"
_CRC = re.compile(rb'^(.*),"crc":"([0-9a-f]{8})"\}$', re.DOTALL)
_REMEDY = "restore it from a copy, or set it aside; other plays are not touched by it"


class SessionLogHeader(BaseModel):
    """First line of a log: which play, of what, by whom, and everything a replay needs beside the events."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["flywheel-session-log-1"] = "flywheel-session-log-1"
    session_id: Annotated[str, Field(pattern=_ID)] = Field(description="the sitting the play belongs to")
    play_id: Annotated[str, Field(pattern=_ID)] = Field(description="the play; names its files")
    episode: Episode = Field(description="the whole task, so that the log needs no other file")
    index: int = Field(default=0, ge=0, le=100_000, description="position among the session's plays, from 0")
    attempt: int = Field(default=1, ge=1, le=1000, description="the person's how manieth try at this task")
    roles: dict[int, Role] = Field(default={0: "human", 1: "ai"}, description="who drives which agent")
    participant: str = Field(default="", max_length=64, description="who plays; a made-up id, never a name")
    partner_policy: str = Field(default="", max_length=200, description="the policy that began as partner")
    style: PromptStyle = Field(default="incremental", description="the prompts' dialect")
    decision_limit: int = Field(default=50, ge=0, le=100_000, description="decisions the partner may make")
    program: str = Field(default="planner", max_length=64, description="the loop the play is collected for")
    iteration: int = Field(default=0, ge=0, description="the turn of that loop")
    tutorial: bool = Field(default=False, description="played to learn the keys; never training data")
    scene: SceneKind = Field(default="kinematic", description="what the home was played in")
    scene_backend: str = Field(
        default="", max_length=200, description="what answered in that scene's process; empty: not told"
    )
    scene_dataset: str = Field(
        default="", max_length=4096, description="scene data set, by the path it was given by; empty: our homes"
    )
    generator: str = Field(default="", max_length=64, description="version of the homes and tasks")
    started: float = Field(default=0.0, ge=0, le=1e11, description="seconds since 1970")

    @property
    def human(self) -> int:
        """The number of the agent the person drives."""
        return next(agent for agent, role in self.roles.items() if role == "human")

    @property
    def played_scene(self) -> PlayedScene:
        """Which scene it is played in."""
        return PlayedScene(self.scene, self.episode.scene_id, self.scene_backend, self.scene_dataset)


@dataclass(frozen=True, slots=True)
class SessionLog:
    """A log as it was read.

    Attributes:
        path: the file.
        header: which play it is.
        events: all sound events, in order; ``events[i].n == i``.
        sound_bytes: length of the uncompressed text up to the end of the last sound line.
        torn: whether half a line followed, left by a writer that was killed.
    """

    path: Path
    header: SessionLogHeader
    events: list[SessionEvent]
    sound_bytes: int
    torn: bool

    @property
    def finish(self) -> FinishEvent | None:
        """How the play ended; None while it has not."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, FinishEvent) else None


def log_path(folder: str | Path, play_id: str) -> Path:
    """Where the open log of a play lies in its session's folder.

    Raises:
        UserError: the id is not one of ours.
    """
    return Path(folder) / f"{_checked(play_id)}{LOG_SUFFIX}"


def closed_log_path(folder: str | Path, play_id: str) -> Path:
    """Where the compressed log of a play lies once it is over.

    Raises:
        UserError: the id is not one of ours.
    """
    return Path(folder) / f"{_checked(play_id)}{CLOSED_LOG_SUFFIX}"


def _checked(play_id: str) -> str:
    if not re.match(_ID, play_id) or play_id.endswith("\n"):
        raise UserError(f"play id {play_id!r} is not one of ours", "use small letters, digits and '-'")
    return play_id


def list_session_logs(folder: str | Path, *, closed: bool | None = None) -> list[Path]:
    """The logs directly in a session's folder, sorted by name.

    Args:
        folder: the session's folder; one that does not exist holds none.
        closed: only closed ones, only open ones, or both.
    """
    suffixes = {None: (LOG_SUFFIX, CLOSED_LOG_SUFFIX), True: (CLOSED_LOG_SUFFIX,), False: (LOG_SUFFIX,)}[closed]
    root = Path(folder)
    if not root.is_dir():
        return []
    return sorted(
        file
        for file in root.iterdir()
        if file.name.endswith(suffixes) and TEMPORARY_MARK not in file.name and file.is_file()
    )


def play_of(log: Path) -> str:
    """The play a log's name says it is of."""
    return log.name.removesuffix(CLOSED_LOG_SUFFIX).removesuffix(LOG_SUFFIX)


# --- reading ----------------------------------------------------------------------------------------------------


def read_session_log(path: str | Path) -> SessionLog:
    """Read a log, open (``.log.jsonl``) or closed (``.log.jsonl.gz``).

    Half a line at the end of an open log is passed over; it was never acknowledged.

    Raises:
        UserError: the file is missing, or anything else in it is not what it should be; the message names the file,
            the line and the remedy.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"session log '{file}' does not exist", "check the path") from None
    except OSError as error:
        raise UserError(f"session log '{file}' cannot be read", str(error.strerror)) from None
    closed = file.name.endswith(".gz")
    if closed:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"session log '{file}' is damaged ({error})", _REMEDY) from None
    *lines, rest = data.split(b"\n")
    if closed and rest:
        raise _corrupt(file, len(lines) + 1, "has no end")
    if not lines:
        raise _corrupt(file, 1, "the header is missing")
    header = _header(file, lines[0])
    return SessionLog(file, header, list(_events(file, lines[1:])), len(data) - len(rest), bool(rest))


def _corrupt(file: Path, number: int, what: str) -> UserError:
    return UserError(f"session log '{file}', line {number}: {what}", _REMEDY)


def sealed(text: str) -> bytes:
    """One line of a log: the JSON object ``text`` with its check sum as last member, and the line end."""
    body = text.encode("utf-8")[:-1]
    return b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def _unsealed(file: Path, number: int, line: bytes) -> bytes:
    match = _CRC.match(line)
    if match is None:
        raise _corrupt(file, number, "is not a line of a session log")
    if zlib.crc32(match[1]) != int(match[2], 16):
        raise _corrupt(file, number, "is damaged: its check sum differs")
    return match[1] + b"}"


def _header(file: Path, line: bytes) -> SessionLogHeader:
    try:
        header = SessionLogHeader.model_validate_json(_unsealed(file, 1, line))
    except ValidationError as error:
        raise _corrupt(file, 1, _said(error)) from None
    if sorted(header.roles.values()) != ["ai", "human"]:
        raise _corrupt(file, 1, "needs one human and one ai among its roles")
    return header


def _events(file: Path, lines: list[bytes]) -> Iterator[SessionEvent]:
    tick, over = 0, False
    for n, line in enumerate(lines):
        number = n + 2
        try:
            event = SESSION_EVENT.validate_json(_unsealed(file, number, line))
        except ValidationError as error:
            raise _corrupt(file, number, _said(error)) from None
        if event.n != n:
            raise _corrupt(file, number, f"is event {event.n}, expected event {n}")
        if event.tick < tick:
            raise _corrupt(file, number, f"happens at tick {event.tick}, after tick {tick}")
        if over:
            raise _corrupt(file, number, "follows the finish, which must be last")
        tick, over = event.tick, isinstance(event, FinishEvent)
        yield event


def _said(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{f"field '{place}': " if place else ''}{first['msg'].lower()}"


# --- writing ----------------------------------------------------------------------------------------------------


class SessionLogWriter:
    """Appends events to a play's log; a thread of the process makes them durable.

    ``append`` only takes an event in; within a quarter of a second, and at once for what people would miss
    (``URGENT_KINDS``), a flusher writes and syncs everything taken in so far. What ``durable_n`` says survives a
    kill and a power cut. One process at a time holds a log: the second is refused.

    Where the disk is full, ``error`` says so and ``append`` raises it from then on; the file ends with a whole line,
    what was taken in is kept, and ``retry`` goes on once there is room.

    Use ``create`` for a new play and ``resume`` for one that a killed process left.
    """

    def __init__(self, path: Path, descriptor: int, size: int, next_n: int, flusher: LogFlusher) -> None:
        self.path = path
        self._descriptor = descriptor
        self._flusher = flusher
        self._taking_in = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[bytes] = []
        self._next_n = next_n
        self._durable_n = next_n - 1
        self._durable_bytes = size
        self._error: UserError | None = None
        self._closed = False

    @classmethod
    def create(
        cls, path: str | Path, header: SessionLogHeader, *, flusher: LogFlusher | None = None
    ) -> SessionLogWriter:
        """Begin the log of a new play; its header is durable when this returns.

        Args:
            path: ``log_path(session folder, play_id)``; folders are made as needed.
            header: which play it is.
            flusher: who syncs; by default the process's own.

        Raises:
            UserError: the file is there already, or the disk is full.
        """
        file = Path(path)
        if file.exists():
            raise UserError(f"session log '{file}' exists already", "go on with it, or choose another play id")
        line = sealed(header.model_dump_json())
        publish_bytes(file, line)
        return cls(file, _locked(file), len(line), 0, flusher or process_flusher())

    @classmethod
    def resume(cls, path: str | Path, *, flusher: LogFlusher | None = None) -> tuple[SessionLog, SessionLogWriter]:
        """Go on with the log of a play that is not over; half a line at its end is cut off.

        Returns:
            What the log holds, and a writer whose first event is the one after.

        Raises:
            UserError: the log is missing, corrupt, held by another process, or its play is over.
        """
        file = Path(path)
        if not file.exists():
            raise UserError(f"session log '{file}' does not exist", "check the path")
        descriptor = _locked(file)
        try:
            log = read_session_log(file)
            if log.finish is not None:
                raise UserError(f"session log '{file}': the play is over", "close it, or begin another")
            if log.torn:
                with disk_errors_named(file):
                    os.ftruncate(descriptor, log.sound_bytes)
                    os.fsync(descriptor)
        except BaseException:
            unlock_and_close(descriptor)
            raise
        return log, cls(file, descriptor, log.sound_bytes, len(log.events), flusher or process_flusher())

    @property
    def next_n(self) -> int:
        """Number of the event to append next."""
        return self._next_n

    @property
    def durable_n(self) -> int:
        """Number of the last event that is safely on disk; -1 before the first."""
        return self._durable_n

    @property
    def error(self) -> UserError | None:
        """Why events cannot be made durable at the moment; None while all is well."""
        return self._error

    def append(self, event: SessionEvent) -> None:
        """Take in an event. Never waits for the disk.

        Raises:
            UserError: the log cannot be written (disk full); the event was not taken in.
            ValueError: the event's number is not ``next_n``, or the writer is closed.
        """
        if self._error is not None:
            raise self._error
        if event.n != self._next_n:
            raise ValueError(f"event {event.n} appended where event {self._next_n} is due")
        line = sealed(event.model_dump_json())
        with self._taking_in:
            if self._closed:
                raise ValueError(f"session log '{self.path}' is closed")
            first = not self._pending
            self._pending.append(line)
            self._next_n += 1
        urgent = event.kind in URGENT_KINDS
        if first or urgent:
            self._flusher.want(self, urgent=urgent)

    def flush(self) -> bool:
        """Make everything taken in durable now; waits for the disk. Returns whether it is; ``error`` says why not."""
        with self._writing:
            with self._taking_in:
                lines, self._pending = self._pending, []
                last = self._next_n - 1
            if not lines or self._descriptor < 0:
                return self._error is None
            content = b"".join(lines)
            try:
                with disk_errors_named(self.path):
                    _write_at(self._descriptor, content, self._durable_bytes)
                    os.fdatasync(self._descriptor)
            except (OSError, UserError) as error:
                # Whole lines or nothing: what was written of these is cut off and tried again as a whole.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._durable_bytes)
                with self._taking_in:
                    self._pending[:0] = lines
                self._error = (
                    error
                    if isinstance(error, UserError)
                    else UserError(f"session log '{self.path}' cannot be written ({error.strerror})", "see to the disk")
                )
                return False
            self._durable_bytes += len(content)
            self._durable_n = last
            self._error = None
            return True

    def retry(self) -> bool:
        """Try again after an error; returns whether the log can be written again."""
        return self.flush()

    def close(self) -> None:
        """Make everything durable and let go of the file; closing twice is harmless.

        Raises:
            UserError: the last events could not be made durable. They are kept: close again once there is room.
        """
        with self._taking_in:
            self._closed = True
        if not self.flush() and self._error is not None:
            raise self._error
        with self._writing:
            if self._descriptor >= 0:
                unlock_and_close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> SessionLogWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _locked(file: Path) -> int:
    """Open a log for writing, as its only writer; the lock goes with the process that holds it."""
    with disk_errors_named(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"session log '{file}' is being written by another process", "wait until it has ended, or stop it"
        ) from None
    return descriptor


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
