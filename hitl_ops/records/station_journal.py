"""The journal a station writes while an episode is running: whole records with check sums, one after another.

HDF5 keeps its index in memory and writes it when it likes: a process that is killed while it writes leaves a file that
does not open. So an episode is first kept in this file (``<episode>.hdf5.part``) and becomes HDF5 when it is over; what
a kill leaves is read up to its last whole record.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named

JOURNAL_SUFFIX = ".part"
HEADER, FRAME, END = 0, 1, 2

_MAGIC = b"FLYWHEEL-STATION-1\n"
_HEAD = struct.Struct("<IIB")
_LENGTH = struct.Struct("<I")
_MOMENT = struct.Struct("<d?")


class Frame(NamedTuple):
    """One control step as it is kept."""

    timestamp: float
    intervention: bool
    numbers: npt.NDArray[np.float32]
    """qpos, qvel, effort, action and environment state, one after another."""
    pictures: tuple[bytes, ...]
    """One JPEG a camera."""


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What can be read of a journal.

    Attributes:
        header: what the episode was begun with.
        offsets: where each whole frame's record begins.
        end: what the episode was ended with; None where it was not.
        sound_bytes: length up to the end of the last whole record.
    """

    header: dict[str, Any]
    offsets: list[int]
    end: dict[str, Any] | None
    sound_bytes: int


def record(kind: int, payload: bytes) -> bytes:
    """A record as it stands in the file."""
    return _HEAD.pack(len(payload), zlib.crc32(payload, kind), kind) + payload


def head_of_journal(header: dict[str, Any]) -> bytes:
    """What a journal begins with."""
    return _MAGIC + record(HEADER, json.dumps(header).encode())


def end_record(end: dict[str, Any]) -> bytes:
    """The record after which nothing follows."""
    return record(END, json.dumps(end).encode())


def frame_record(frame: Frame) -> bytes:
    """A frame's record."""
    parts = [_MOMENT.pack(frame.timestamp, frame.intervention), frame.numbers.tobytes()]
    for picture in frame.pictures:
        parts += [_LENGTH.pack(len(picture)), picture]
    return record(FRAME, b"".join(parts))


def unpack_frame(payload: bytes, size: int, cameras: int) -> Frame:
    """A frame out of its record's payload.

    Args:
        payload: the record's content.
        size: how many numbers a frame has.
        cameras: how many pictures.
    """
    timestamp, intervention = _MOMENT.unpack_from(payload)
    numbers = np.frombuffer(payload, np.float32, size, _MOMENT.size)
    at, pictures = _MOMENT.size + 4 * size, []
    for _ in range(cameras):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        pictures.append(payload[at : at + length])
        at += length
    return Frame(timestamp, intervention, numbers, tuple(pictures))


def scan_journal(path: Path) -> JournalContent:
    """Find the whole records of a journal, without keeping them.

    Raises:
        UserError: its very beginning is no journal's.
    """
    with open(path, "rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise UserError(f"'{path}' is no unfinished recording", "move it out of the folder")
        header: dict[str, Any] | None = None
        offsets: list[int] = []
        end: dict[str, Any] | None = None
        sound = stream.tell()
        for kind, payload, offset in _records(stream):
            if kind == HEADER:
                header = json.loads(payload)
            elif kind == FRAME:
                offsets.append(offset)
            elif kind == END:
                end = json.loads(payload)
            sound = stream.tell()
    if header is None:
        raise UserError(f"'{path}' is damaged at its beginning", "move it out of the folder")
    return JournalContent(header, offsets, end, sound)


def read_frames(path: Path, offsets: list[int], size: int, cameras: int) -> Iterator[Frame]:
    """Yield the frames whose records begin at ``offsets``; one is in memory at a time."""
    with open(path, "rb") as stream:
        for offset in offsets:
            stream.seek(offset)
            _kind, payload, _offset = next(_records(stream))
            yield unpack_frame(payload, size, cameras)


def _records(stream: BinaryIO) -> Iterator[tuple[int, bytes, int]]:
    """Whole records from here on: kind, payload, offset. Ends before the first that is not whole."""
    while True:
        offset = stream.tell()
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        length, check, kind = _HEAD.unpack(head)
        payload = stream.read(length)
        if len(payload) < length or zlib.crc32(payload, kind) != check:
            return
        yield kind, payload, offset


def lock_journal(path: Path) -> int | None:
    """Open a journal as its only writer; None where another process holds it. The lock goes with its process."""
    with disk_errors_named(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
