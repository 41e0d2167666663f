"""The page's socket without a page, against a server of another make."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve

from ui_collect.protocol import SUBPROTOCOL, WEBSOCKET_PATH
from ui_collect.scripted_people.page_socket import ConnectionRefused, PageSocket, open_page_socket


class Heard:
    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def on_text(self, text: str) -> None:
        self.messages.append(text)

    def on_bytes(self, data: bytes) -> None:
        self.messages.append(data)

    def on_closed(self, code: int, reason: str) -> None:
        self.closed.set_result((code, reason))


def served(
    handler: Callable[[ServerConnection], Awaitable[None]],
    client: Callable[[PageSocket, Heard], Awaitable[None]],
    **options: object,
) -> None:
    """Serve with a handler, and be one client."""

    async def both() -> None:
        async with serve(handler, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], **options) as server:  # type: ignore[arg-type, list-item]
            port = next(iter(server.sockets)).getsockname()[1]
            heard = Heard()
            socket = await open_page_socket(f"http://127.0.0.1:{port}", heard)
            await client(socket, heard)

    asyncio.run(both())


def test_messages_go_both_ways_whole_and_in_pieces() -> None:
    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None and connection.request.path == WEBSOCKET_PATH
        assert connection.subprotocol == SUBPROTOCOL
        await connection.send(await connection.recv())
        await connection.send([b"one", b"two", b"three"])
        await connection.send(["ä" * 5, "ö"])
        await connection.send(b"x" * 200_000)
        await connection.ping()
        await connection.close(4010, "over")

    async def client(socket: PageSocket, heard: Heard) -> None:
        socket.send("hällo")
        assert await asyncio.wait_for(heard.closed, 10) == (4010, "over")
        assert heard.messages == ["hällo", b"onetwothree", "äääääö", b"x" * 200_000]
        assert socket.received_bytes == 6 + 11 + 12 + 200_000 and socket.sent_bytes == 6
        assert not socket.open
        socket.send("nobody hears this")

    served(handler, client)


def test_a_polite_end_and_a_cable_pulled_out() -> None:
    codes: list[int | None] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()
        codes.append(connection.close_code)

    async def polite(socket: PageSocket, heard: Heard) -> None:
        socket.close()
        assert (await asyncio.wait_for(heard.closed, 10))[0] == 1000
        while not codes:
            await asyncio.sleep(0.01)

    async def rude(socket: PageSocket, heard: Heard) -> None:
        socket.abort()
        assert (await asyncio.wait_for(heard.closed, 10))[0] == 1006
        while len(codes) < 2:
            await asyncio.sleep(0.01)

    served(handler, polite)
    served(handler, rude)
    assert codes == [1000, 1006]


def test_a_refusal_tells_the_status() -> None:
    async def handler(connection: ServerConnection) -> None:
        raise AssertionError("nobody is let in")

    def refuse(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "full\n")

    async def client(_socket: PageSocket, _heard: Heard) -> None:
        raise AssertionError("nobody is let in")

    with pytest.raises(ConnectionRefused) as refused:
        served(handler, client, process_request=refuse)
    assert refused.value.status == 503


def test_nobody_there_is_a_refusal_too() -> None:
    async def knock() -> None:
        with pytest.raises(ConnectionRefused) as refused:
            await open_page_socket("http://127.0.0.1:9", Heard())
        assert refused.value.status == 0

    asyncio.run(knock())
