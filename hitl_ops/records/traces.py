"""Traces: one gzip-compressed JSON-lines file per episode, with every decision.

The first line is the :class:`EpisodeHeader`, then one :class:`Decision` a line, last the :class:`EpisodeResult`.
A trace is written once, when its episode has ended; a file without a result is not finished and says so.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from hitl_ops.contracts.decision import Decision, EpisodeHeader, EpisodeResult
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, publish_json_lines_gz

TRACE_SUFFIX = ".jsonl.gz"
_REMEDY = "delete it and run its episode again, or restore it from a copy"
_Line = EpisodeHeader | Decision | EpisodeResult
_LINE: TypeAdapter[_Line] = TypeAdapter(Annotated[_Line, Field(discriminator="type")])
# Small steps, so that the line at which a damaged file stops being readable is known exactly enough to name.
_CHUNK_BYTES = 256


class UnfinishedTrace(UserError):
    """The trace has no result: its episode never ended."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One episode as it was played.

    Attributes:
        header: which episode, who played it.
        decisions: every decision of both agents, in the order they were made.
        result: how it ended.
        path: the file it was read from.
    """

    header: EpisodeHeader
    decisions: list[Decision]
    result: EpisodeResult
    path: Path


def trace_path(folder: str | Path, episode_id: str) -> Path:
    """Where the trace of ``episode_id`` lies in ``folder``.

    Raises:
        UserError: the id cannot be a file name.
    """
    if not episode_id or episode_id.startswith(".") or any(mark in episode_id for mark in ("/", "\\", "\0")):
        raise UserError(f"episode id {episode_id!r} cannot name a file", "use letters, digits, '-', '_' and '.'")
    if TEMPORARY_MARK in episode_id:
        raise UserError(f"episode id {episode_id!r} contains '{TEMPORARY_MARK}'", "choose another id")
    return Path(folder) / f"{episode_id}{TRACE_SUFFIX}"


def write_trace(path: str | Path, header: EpisodeHeader, decisions: Sequence[Decision], result: EpisodeResult) -> None:
    """Publish a trace atomically; equal input gives equal bytes.

    Args:
        path: ``<folder>/<episode_id>.jsonl.gz``.
        header: which episode, who played it.
        decisions: every decision, in the order they were made, each index once.
        result: how the episode ended.

    Raises:
        ValueError: two decisions carry the same index.
        UserError: the disk is full or the place cannot be written.
    """
    indices = [decision.index for decision in decisions]
    if len(set(indices)) != len(indices):
        raise ValueError(f"decision indices of episode {header.episode_id!r} are not unique: {indices}")
    publish_json_lines_gz(path, [header, *decisions, result])


def read_trace(path: str | Path) -> Trace:
    """Read a whole trace.

    Raises:
        UnfinishedTrace: every line is sound, but the result is missing.
        UserError: the file is missing, truncated, not gzip, or a line is not what it should be; the message
            names the file, the line and the remedy.
    """
    file = Path(path)
    header: EpisodeHeader | None = None
    result: EpisodeResult | None = None
    decisions: list[Decision] = []
    seen: set[int] = set()
    number = 0
    for number, line in enumerate(_lines(file), start=1):
        row = _parse(file, number, line)
        if result is not None:
            raise _corrupt(file, number, "follows the result, which must be last")
        if isinstance(row, EpisodeHeader) != (number == 1):
            raise _corrupt(file, number, f"is of type '{row.type}'; the header must be first, and only there")
        if isinstance(row, EpisodeHeader):
            header = row
        elif isinstance(row, EpisodeResult):
            result = row
        else:
            if row.index in seen:
                raise _corrupt(file, number, f"repeats decision {row.index}")
            seen.add(row.index)
            decisions.append(row)
    if header is None:
        raise UserError(f"trace '{file}', line 1: the file is empty", _REMEDY)
    if result is None:
        raise UnfinishedTrace(
            f"trace '{file}' is unfinished: no result after line {number}", "delete it and run its episode again"
        )
    return Trace(header, decisions, result, file)


def read_trace_header(path: str | Path) -> EpisodeHeader:
    """Read which episode a trace is of, and who played it; nothing behind its first line is looked at.

    Raises:
        UserError: the file is missing, not gzip, empty, or its first line is not what it should be.
    """
    file = Path(path)
    for line in _lines(file):
        row = _parse(file, 1, line)
        if isinstance(row, EpisodeHeader):
            return row
        raise _corrupt(file, 1, f"is of type '{row.type}'; the header must be first, and only there")
    raise UserError(f"trace '{file}', line 1: the file is empty", _REMEDY)


def list_traces(folder: str | Path) -> list[Path]:
    """The finished trace files of ``folder``, sorted by episode id; what killed writers left is passed over.

    Raises:
        UserError: the folder does not exist.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"trace folder '{root}' does not exist", "record traces first with `flywheel rollout`")
    found = [file for file in root.glob(f"*{TRACE_SUFFIX}") if TEMPORARY_MARK not in file.name and file.is_file()]
    return sorted(found, key=lambda file: file.name.removesuffix(TRACE_SUFFIX))


def read_traces(folder: str | Path) -> Iterator[Trace]:
    """Read the traces of ``folder`` one after the other, sorted by episode id; one is in memory at a time.

    Raises:
        UserError: the folder does not exist, or a trace in it is corrupt or unfinished.
    """
    for file in list_traces(folder):
        yield read_trace(file)


def _corrupt(file: Path, number: int, what: str) -> UserError:
    return UserError(f"trace '{file}', line {number}: {what}", _REMEDY)


def _parse(file: Path, number: int, line: bytes) -> _Line:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise _corrupt(file, number, f"is not JSON ({first['ctx']['error']})") from None
        if not first["loc"]:
            raise _corrupt(file, number, "is neither header, decision nor result") from None
        place = ".".join(str(part) for part in first["loc"][1:])
        raise _corrupt(file, number, f"field '{place}': {first['msg'].lower()}") from None


def _lines(file: Path) -> Iterator[bytes]:
    """Yield the decompressed lines as far as the file can be read, then raise if it ends too early."""
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        raise UserError(f"trace '{file}' does not exist", "check the path") from None
    except OSError as error:
        raise UserError(f"trace '{file}' cannot be read", str(error.strerror)) from None
    decompressor = zlib.decompressobj(wbits=31)
    rest, number, empty = b"", 1, True
    with stream:
        while chunk := stream.read(_CHUNK_BYTES):
            empty = False
            if decompressor.eof:
                raise _corrupt(file, number, "data follows the end of the compressed stream")
            try:
                text = decompressor.decompress(chunk)
            except zlib.error as error:
                raise _corrupt(file, number, f"is damaged ({error})") from None
            if decompressor.unused_data:
                raise _corrupt(file, number, "data follows the end of the compressed stream")
            *complete, rest = (rest + text).split(b"\n")
            number += len(complete)
            yield from complete
    if not empty and (rest or not decompressor.eof):
        raise _corrupt(file, number, "the file is truncated here")
