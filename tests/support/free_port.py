"""A port for a server that has to be named before it is started."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port of this machine nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
