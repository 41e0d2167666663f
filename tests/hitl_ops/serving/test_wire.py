"""Messages over a stream: cut anywhere, put together again; too large or no message, refused."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_ops.serving.wire import Link, MessageBuffer, WireError, pack

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(plain, max_size=5), st.data())
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(messages: list[object], data) -> None:
    stream = b"".join(map(pack, messages))
    buffer = MessageBuffer()
    came: list[object] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        came += buffer.feed(stream[:cut])
        stream = stream[cut:]
    assert came == messages


@given(st.binary(max_size=200))
def test_noise_is_refused_or_waited_for_never_a_crash(noise: bytes) -> None:
    buffer = MessageBuffer(limit=100)
    try:
        buffer.feed(noise)
    except WireError:
        return


def test_a_message_announced_too_large_is_refused_before_it_is_kept() -> None:
    buffer = MessageBuffer(limit=1000)
    with pytest.raises(WireError, match="1001 bytes"):
        buffer.feed(struct.pack("<I", 1001))


def test_a_link_never_waits_for_a_side_that_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    link, other = Link(ours), Link(theirs)
    message = {"bytes": b"x" * 100_000}
    for _ in range(50):
        link.send(message)
    assert link.unsent > 1_000_000
    came: list[object] = []
    while link.unsent:
        came += other.receive()
        link.flush()
    came += other.receive()
    assert came == [message] * 50
    assert other.receive() == []
    link.send("last")
    link.close()
    assert other.receive() == ["last"]
    with pytest.raises(WireError):
        other.receive()
    other.close()


def test_sending_to_a_side_that_has_gone_says_so() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(WireError):
        Link(ours).send("hello")
