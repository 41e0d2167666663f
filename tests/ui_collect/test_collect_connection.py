"""The sending side of a connection: order, slow readers, full keyframes first; and the files of the page."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from starlette.requests import Request

from hitl_ops.contracts.errors import UserError
from ui_collect.connection import Connection
from ui_collect.keyframes import FULL, INCREMENT
from ui_collect.page_files import PageFiles
from ui_collect.protocol import Pong


class Wire:
    """A WebSocket whose reader can be stopped."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.reads = asyncio.Event()
        self.reads.set()
        self.broken = False

    async def send_text(self, text: str) -> None:
        await self._send(text)

    async def send_bytes(self, data: bytes) -> None:
        await self._send(data)

    async def _send(self, item: str | bytes) -> None:
        await self.reads.wait()
        if self.broken:
            raise RuntimeError("gone")
        self.sent.append(item)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def frame(kind: int, number: int = 0) -> bytes:
    return bytes([kind, number])


def test_everything_goes_out_in_order_and_increments_only_after_a_full_frame() -> None:
    async def scene() -> None:
        wire = Wire()
        connection = Connection(wire, frames=8, behind=lambda: None)  # type: ignore[arg-type]
        connection.send_frame(frame(INCREMENT, 1))
        connection.send(Pong(t=1))
        connection.send_frame(frame(FULL, 2))
        connection.send_frame(frame(INCREMENT, 3))
        connection.close(1000, "done")
        connection.send(Pong(t=2))
        await connection.closed()
        assert [item if isinstance(item, bytes) else json.loads(item)["t"] for item in wire.sent] == [
            1,
            frame(FULL, 2),
            frame(INCREMENT, 3),
        ]
        assert wire.closed == (1000, "done")
        assert not connection.open

    asyncio.run(scene())


def test_a_slow_reader_loses_frames_asks_for_a_full_one_and_keeps_its_messages() -> None:
    async def scene() -> None:
        wire, asked = Wire(), []
        connection = Connection(wire, frames=8, behind=lambda: asked.append(True))  # type: ignore[arg-type]
        wire.reads.clear()
        connection.send_frame(frame(FULL))
        await asyncio.sleep(0)  # the writer takes the first one and waits
        for number in range(100):
            connection.send_frame(frame(INCREMENT, number))
        connection.send(Pong(t=7))
        assert asked == [True], "asked once, not for every frame"
        assert connection.dropped_frames == 9
        connection.send_frame(frame(FULL, 200))
        connection.send_frame(frame(INCREMENT, 201))
        wire.reads.set()
        await asyncio.sleep(0.01)
        assert wire.sent[0] == frame(FULL)
        assert json.loads(wire.sent[1])["t"] == 7
        assert wire.sent[2:] == [frame(FULL, 200), frame(INCREMENT, 201)]
        connection.close(1000)
        await connection.closed()

    asyncio.run(scene())


def test_whoever_reads_nothing_at_all_is_given_up_with_bounded_memory() -> None:
    async def scene() -> None:
        wire = Wire()
        connection = Connection(wire, frames=8, behind=lambda: None)  # type: ignore[arg-type]
        wire.reads.clear()
        for number in range(10_000):
            connection.send(Pong(t=number))
        assert not connection.open
        assert len(connection._queue) <= 256
        wire.broken = True
        wire.reads.set()
        await connection.closed()

    asyncio.run(scene())


def test_nobody_waits_for_a_client_that_has_gone() -> None:
    async def scene() -> None:
        for reads in (True, False):
            wire = Wire()
            connection = Connection(wire, frames=8, behind=lambda: None)  # type: ignore[arg-type]
            connection.send(Pong(t=1))
            if not reads:
                wire.reads.clear()
            await asyncio.sleep(0.01)
            connection.gone()
            assert not connection.open
            async with asyncio.timeout(1):
                await connection.closed()
            assert wire.closed is None, "there is nobody to say goodbye to"

    asyncio.run(scene())


def test_what_was_said_before_a_close_is_sent_though_the_line_breaks_later() -> None:
    async def scene() -> None:
        wire = Wire()
        connection = Connection(wire, frames=8, behind=lambda: None)  # type: ignore[arg-type]
        connection.send(Pong(t=1))
        connection.close(1000, "done")
        await asyncio.sleep(0.01)
        connection.gone()
        await connection.closed()
        assert len(wire.sent) == 1
        assert wire.closed == (1000, "done")

    asyncio.run(scene())


def request(path: str, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "path": path, "headers": raw, "query_string": b"", "server": ("x", 80)})


def test_the_pages_files_are_served_from_memory_compressed_and_cached(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not built: run `python3 bootstrap\.py`"):
        PageFiles(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>" + "x" * 1000)
    (tmp_path / "assets" / "main-1a2b.js").write_text("let a = 1;" * 100)
    (tmp_path / "assets" / "picture-3c.png").write_bytes(b"\x89PNG" + bytes(range(256)))
    pages = PageFiles(tmp_path)
    (tmp_path / "assets" / "main-1a2b.js").unlink()
    script = pages.answer(request("/assets/main-1a2b.js", accept_encoding="gzip, br"))
    assert script is not None
    assert script.headers["content-encoding"] == "gzip"
    assert "immutable" in script.headers["cache-control"]
    assert script.media_type == "text/javascript"
    assert gzip.decompress(bytes(script.body)) == b"let a = 1;" * 100
    picture = pages.answer(request("/assets/picture-3c.png", accept_encoding="gzip"))
    assert picture is not None
    assert "content-encoding" not in picture.headers
    index = pages.answer(request("/join"), "/index.html")
    assert index is not None
    assert index.headers["cache-control"] == "no-cache"
    again = pages.answer(request("/index.html", if_none_match=index.headers["etag"]))
    assert again is not None
    assert again.status_code == 304
    for path in ("/assets/../index.html", "/../index.html", "/assets", "/etc/passwd", "//etc/passwd"):
        assert pages.answer(request(path)) is None
