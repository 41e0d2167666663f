"""Messages over a stream socket: four bytes of length, then MessagePack. Light enough for a robot station."""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Any

import msgpack

MESSAGE_BYTES = 16 * 2**20
"""Largest message either side accepts."""
_LENGTH = struct.Struct("<I")
_CHUNK = 2**18


class WireError(Exception):
    """The other side has gone, or sends what is no message."""


def pack(message: Any) -> bytes:
    """A message of plain data (maps, lists, strings, bytes, numbers) as bytes to send.

    Raises:
        WireError: it is larger than the other side accepts.
    """
    body: bytes = msgpack.packb(message, use_bin_type=True)
    if len(body) > MESSAGE_BYTES:
        raise WireError(f"a message of {len(body)} bytes is larger than {MESSAGE_BYTES}")
    return _LENGTH.pack(len(body)) + body


class MessageBuffer:
    """Cuts a stream of bytes into messages.

    Args:
        limit: largest message accepted, bytes.
    """

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self._limit = limit
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take in what was read; returns the messages completed by it.

        Raises:
            WireError: a message is too large or no MessagePack.
        """
        self._bytes += data
        messages = []
        start = 0
        while len(self._bytes) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes, start)
            if length > self._limit:
                raise WireError(f"a message of {length} bytes is announced, {self._limit} are accepted")
            end = start + _LENGTH.size + length
            if len(self._bytes) < end:
                break
            try:
                messages.append(msgpack.unpackb(bytes(self._bytes[start + _LENGTH.size : end]), raw=False))
            except (ValueError, msgpack.exceptions.UnpackException) as error:
                raise WireError(f"what came is no message ({error})") from None
            start = end
        if start:
            del self._bytes[:start]
        return messages


class Link:
    """One end of a connection that never makes its owner wait.

    Args:
        connection: a connected stream socket; owned from now on.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._incoming = MessageBuffer()
        self._outgoing: deque[memoryview] = deque()
        self.unsent = 0
        """Bytes that wait for the other side to read."""

    def fileno(self) -> int:
        """The descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, message: Any) -> None:
        """Send a message as far as the other side takes it now; the rest goes with :meth:`flush`.

        Raises:
            WireError: the other side has gone.
        """
        data = pack(message)
        self._outgoing.append(memoryview(data))
        self.unsent += len(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the other side takes it now.

        Raises:
            WireError: the other side has gone.
        """
        try:
            while self._outgoing:
                first = self._outgoing[0]
                sent = self._socket.send(first)
                self.unsent -= sent
                if sent < len(first):
                    self._outgoing[0] = first[sent:]
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            raise WireError(f"the other side has gone ({error.strerror})") from None

    def receive(self) -> list[Any]:
        """The messages that have come in.

        Raises:
            WireError: the other side has gone, or sends what is no message.
        """
        messages: list[Any] = []
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return messages
            except OSError as error:
                raise WireError(f"the other side has gone ({error.strerror})") from None
            if not data:
                # What came before the end is still worth having; the end shows again on the next call.
                if messages:
                    return messages
                raise WireError("the other side has gone")
            messages += self._incoming.feed(data)
            if len(data) < _CHUNK:
                return messages

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
