"""A policy server in a thread of the test's own process, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from hitl_ops.serving.openpi_codec import pack, unpack
from hitl_ops.serving.policy_batching import ServedPolicy
from hitl_ops.serving.policy_follower import PolicyFollower
from hitl_ops.serving.policy_server import PolicyServer
from hitl_ops.serving.policy_server_config import PolicyServerConfig
from hitl_ops.serving.visualiser.page_server import Visualiser

PATIENCE_S = 60.0
# One for all: each would load the machine's certificates anew.
_browser = httpx.Client(verify=False, timeout=PATIENCE_S)


class RunningServer:
    """A server that runs, and clients for it.

    Attributes:
        server: the server.
        page: its visualiser.
    """

    def __init__(self, server: PolicyServer, page: Visualiser) -> None:
        self.server = server
        self.page = page

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    def get(self, path: str, **options: Any) -> httpx.Response:
        return _browser.get(f"{self.url}{path}", **options)

    def get_page(self, path: str = "/", **options: Any) -> httpx.Response:
        return _browser.get(f"{self.page_url}{path}", **options)

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[PolicyClient]:
        address = f"ws://127.0.0.1:{self.server.port}/any/path"
        with connect(address, compression=None, max_size=None, open_timeout=PATIENCE_S, **options) as socket:
            yield PolicyClient(socket)


class PolicyClient:
    """Speaks as openpi's client does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.metadata = unpack(socket.recv(PATIENCE_S))

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        reply = self.send(pack(observation))
        assert isinstance(reply, bytes), reply
        return unpack(reply)

    def send(self, message: str | bytes) -> str | bytes:
        self.socket.send(message)
        return self.socket.recv(PATIENCE_S)


@contextlib.contextmanager
def serving(
    served: ServedPolicy, follower: PolicyFollower | None = None, *, api_key: str = "", **config: Any
) -> Iterator[RunningServer]:
    """A server for the length of a block."""
    settings = PolicyServerConfig.model_validate({"port": 0, "poll_s": 0.05, **config})
    loop = asyncio.new_event_loop()
    ready: list[RunningServer] = []
    up, stop = threading.Event(), asyncio.Event()

    async def run() -> None:
        server = PolicyServer(served, follower, settings, api_key=api_key)
        page = Visualiser(server, 0)
        async with server.running(), page.running():
            ready.append(RunningServer(server, page))
            up.set()
            await stop.wait()

    def main() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            up.set()

    thread = threading.Thread(target=main)
    thread.start()
    up.wait(PATIENCE_S)
    try:
        assert ready, "the server has not started"
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        loop.close()
