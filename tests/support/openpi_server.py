"""A policy server that speaks openpi's protocol in bytes written down here, not by our codec."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

EMPTY_METADATA = bytes.fromhex("80")


def text(value: str) -> bytes:
    data = value.encode()
    return bytes([0xA0 | len(data)]) + data if len(data) < 32 else b"\xd9" + bytes([len(data)]) + data


def metadata(policy_id: str, iteration: int) -> bytes:
    """``{"policy_id": …, "iteration": …}`` in MessagePack; ``iteration`` below 128."""
    return b"\x82" + text("policy_id") + text(policy_id) + text("iteration") + bytes([iteration])


def array(values: bytes, dtype: str, shape: tuple[int, ...]) -> bytes:
    """An array as openpi-client writes it: a map of four, its keys bytes, in this order."""
    size = b"".join(bytes([n]) if n < 128 else b"\xcd" + struct.pack(">H", n) for n in shape)
    data = b"\xc4" + bytes([len(values)]) if len(values) < 256 else b"\xc5" + struct.pack(">H", len(values))
    return (
        bytes.fromhex("84c40b5f5f6e6461727261795f5fc3c40464617461")
        + data
        + values
        + bytes.fromhex("c4056474797065")
        + text(dtype)
        + bytes.fromhex("c4057368617065")
        + bytes([0x90 | len(shape)])
        + size
    )


def reply(value: float = 0.0, *, horizon: int = 50, joints: int = 14) -> bytes:
    """``{"actions": float32 [horizon, joints], "server_timing": {"infer_ms": 1.5}}``."""
    actions = array(struct.pack("<f", value) * (horizon * joints), "<f4", (horizon, joints))
    timing = b"\x81" + text("infer_ms") + b"\xcb" + struct.pack(">d", 1.5)
    return b"\x82" + text("actions") + actions + text("server_timing") + timing


class OpenpiServer:
    """Serves on a free port; what it says can be changed while it runs.

    Attributes:
        metadata: sent first to whoever connects.
        answer: makes the reply to each observation's bytes; a ``str`` is sent as text, and the connection closed.
        delay_s: before each reply.
        received: every observation's bytes.
        connections: how often somebody connected.
    """

    def __init__(self, first: bytes = EMPTY_METADATA, port: int = 0) -> None:
        self.metadata = first
        self.answer: Callable[[bytes], bytes | str] = lambda _observation: reply()
        self.delay_s = 0.0
        self.received: list[bytes] = []
        self.connections = 0
        self.headers: list[Any] = []
        self._open: set[ServerConnection] = set()
        self._server: Server = serve(self._converse, "127.0.0.1", port, compression=None, max_size=None)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _converse(self, connection: ServerConnection) -> None:
        self.connections += 1
        self._open.add(connection)
        assert connection.request is not None
        self.headers.append(connection.request.headers)
        with contextlib.suppress(ConnectionClosed):
            connection.send(self.metadata)
            for observation in connection:
                assert isinstance(observation, bytes)
                self.received.append(observation)
                time.sleep(self.delay_s)
                said = self.answer(observation)
                connection.send(said)
                if isinstance(said, str):
                    connection.close(1011)
        self._open.discard(connection)

    def cut(self) -> None:
        """Break every connection where it stands."""
        for connection in list(self._open):
            connection.socket.shutdown(2)

    def stop(self) -> None:
        """End; twice is harmless."""
        if self._thread.is_alive():
            self._server.shutdown()
        self.cut()
        self._thread.join(5)


@contextlib.contextmanager
def openpi_server(first: bytes = EMPTY_METADATA, port: int = 0) -> Iterator[OpenpiServer]:
    """A server for the length of a block."""
    server = OpenpiServer(first, port)
    try:
        yield server
    finally:
        server.stop()
