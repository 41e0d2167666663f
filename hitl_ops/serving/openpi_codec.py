"""What openpi's policy servers and clients send each other: MessagePack with NumPy arrays in it, byte for byte.

An array is a map with the keys ``__ndarray__``, ``data`` (its bytes in C order), ``dtype`` and ``shape``; a NumPy
scalar one with ``__npgeneric__``, ``data`` and ``dtype``; the keys are bytes, in this order. A float64 scalar is a
plain number. Light enough for a robot station: NumPy and msgpack only.
"""

from __future__ import annotations

import re
import threading
from typing import Any

import msgpack
import numpy as np

from hitl_ops.contracts.errors import UserError

MESSAGE_BYTES = 64 * 2**20
"""Largest message accepted unless told otherwise: four cameras of 1080×1920 have 24 MB. openpi itself has no limit."""
_REFUSED_KINDS = "VOc"
_DTYPE = re.compile(r"[<>|=]?[biufSUmM][0-9]{1,6}(\[[0-9A-Za-z/]{1,12}\])?")
_ARRAY, _SCALAR, _DATA, _TYPE, _SHAPE = b"__ndarray__", b"__npgeneric__", b"data", b"dtype", b"shape"


class CodecError(UserError):
    """What is to be sent cannot be, or what came is no message of the protocol."""


def pack(message: Any) -> bytes:
    """A message as bytes to send.

    Args:
        message: maps, lists, texts, bytes, numbers, NumPy arrays and scalars.

    Raises:
        CodecError: something in it has no form in the protocol (complex, structured and object arrays among them).
    """
    try:
        packed: bytes = msgpack.packb(message, default=_plain)
    except CodecError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(
            f"a message cannot be sent ({_one_line(error)})", "send maps of arrays, texts, numbers"
        ) from None
    return packed


def unpack(data: bytes, *, limit: int = MESSAGE_BYTES) -> Any:
    """A message out of the bytes that came. Arrays are read-only views of them.

    Args:
        data: one whole message.
        limit: largest message accepted, bytes.

    Raises:
        CodecError: it is too large, no MessagePack, or holds an array that is none.
    """
    if len(data) > limit:
        raise CodecError(f"a message has {len(data)} bytes, {limit} are accepted", "send smaller pictures")
    try:
        return msgpack.unpackb(data, object_hook=_arrays)
    except CodecError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise CodecError(f"what came is no message ({_one_line(error)})", "speak openpi's MessagePack") from None


def _plain(value: Any) -> Any:
    """What MessagePack knows, in place of what it does not."""
    if not isinstance(value, np.ndarray | np.generic):
        raise CodecError(f"a value of type {type(value).__name__} cannot be sent", "send an array, a text or a number")
    if value.dtype.kind in _REFUSED_KINDS:
        raise CodecError(f"dtype {value.dtype} cannot be sent", "send numbers, booleans or texts of a fixed size")
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, _DATA: _bytes_of(value), _TYPE: value.dtype.str, _SHAPE: value.shape}
    item = value.item()
    if isinstance(item, np.generic):  # a long double has no number of Python's for it
        raise CodecError(f"dtype {value.dtype} cannot be sent as a scalar", "send a float64")
    return {_SCALAR: True, _DATA: item, _TYPE: value.dtype.str}


def _bytes_of(array: np.ndarray[Any, Any]) -> Any:
    """The array's bytes in C order, without a copy where they lie so already."""
    if array.size == 0 or array.dtype.itemsize == 0:
        return b""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _arrays(value: dict[Any, Any]) -> Any:
    """The array or scalar a map stands for, or the map."""
    if _ARRAY in value:
        return _array(value)
    if _SCALAR in value:
        return _scalar(value)
    return value


def _array(value: dict[Any, Any]) -> np.ndarray[Any, Any]:
    dtype, data, shape = _dtype(value), value.get(_DATA), value.get(_SHAPE)
    if not isinstance(data, bytes):
        raise CodecError("an array without bytes came", "send its bytes as 'data'")
    if not isinstance(shape, list) or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        raise CodecError("an array of no shape came", "send its shape as a list of sizes")
    elements = 1
    for size in shape:
        elements *= size
    if elements * dtype.itemsize != len(data) or (elements and not dtype.itemsize):
        raise CodecError(f"an array of {dtype} with shape {tuple(shape)} came in {len(data)} bytes", "send all of it")
    return np.ndarray(buffer=data, dtype=dtype, shape=tuple(shape))


def _scalar(value: dict[Any, Any]) -> Any:
    dtype, data = _dtype(value), value.get(_DATA)
    if not isinstance(data, bool | int | float | str | bytes):
        raise CodecError("a scalar without a value came", "send its value as 'data'")
    return np.array(data, dtype=dtype)[()]


def _dtype(value: dict[Any, Any]) -> np.dtype[Any]:
    text = value.get(_TYPE)
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise CodecError(f"dtype {str(text)[:20]!r} came", "send numbers, booleans or texts of a fixed size")
    return np.dtype(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _new_packer() -> Any:
    return msgpack.Packer(default=_plain)


class _Own(threading.local):
    """A thread's packer, and with it the buffer of its last message: growing a new one takes ten times the packing."""

    def __init__(self) -> None:
        self.packer = _new_packer()


_own = _Own()
