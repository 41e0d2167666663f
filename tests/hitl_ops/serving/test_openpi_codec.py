"""openpi's encoding: the very bytes, there and back, and nothing that is not of it."""

from __future__ import annotations

import datetime
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hitl_ops.serving.openpi_codec import CodecError, pack, unpack

STATE = (
    "81a5737461746584c40b5f5f6e6461727261795f5fc3c40464617461c40c000000000000803f00000040c4056474797065a33c6634"
    "c40573686170659103"
)
SCALAR = "83c40d5f5f6e7067656e657269635f5fc3c40464617461cb3ff8000000000000c4056474797065a33c6634"
EMPTY = "84c40b5f5f6e6461727261795f5fc3c40464617461c400c4056474797065a37c7531c4057368617065930300cd0280"
ZERO_D = "84c40b5f5f6e6461727261795f5fc3c40464617461c4010ac4056474797065a37c7531c405736861706590"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"state": np.arange(3, dtype=np.float32)}, STATE),
        (np.float32(1.5), SCALAR),
        (np.float64(1.5), "cb3ff8000000000000"),
        (np.empty((3, 0, 640), np.uint8), EMPTY),
        (np.array(10, np.uint8), ZERO_D),
        ({}, "80"),
        ({"infer_ms": 2.5, "ok": True, "none": None}, "83a8696e6665725f6d73cb4004000000000000a26f6bc3a46e6f6e65c0"),
    ],
)
def test_the_bytes_are_openpis(value: Any, encoded: str) -> None:
    assert pack(value).hex() == encoded
    assert same(unpack(bytes.fromhex(encoded)), value)


def same(came: Any, sent: Any) -> bool:
    if isinstance(sent, np.ndarray):
        return (
            isinstance(came, np.ndarray)
            and (came.dtype, came.shape) == (sent.dtype, sent.shape)
            and came.tobytes() == sent.tobytes()
        )
    if isinstance(sent, dict):
        return isinstance(came, dict) and [*came] == [*sent] and all(same(came[key], sent[key]) for key in sent)
    if isinstance(sent, list | tuple):
        return len(came) == len(sent) and all(map(same, came, sent))
    if isinstance(sent, np.generic) and not isinstance(sent, float):
        return type(came) is type(sent) and came.tobytes() == sent.tobytes()
    return bool(came == sent)


kinds = (
    npst.boolean_dtypes()
    | npst.integer_dtypes(endianness="?")
    | npst.floating_dtypes(endianness="?")
    | npst.unicode_string_dtypes(max_len=8)
    | npst.byte_string_dtypes(max_len=8)
    | npst.datetime64_dtypes()
)
arrays = npst.arrays(kinds, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
scalars = npst.arrays(npst.boolean_dtypes() | npst.integer_dtypes() | npst.floating_dtypes(sizes=(16, 32)), ()).map(
    lambda array: array[()]
)
leaves = arrays | scalars | st.text(max_size=8) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
messages = st.recursive(
    leaves,
    lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(messages)
def test_what_is_sent_comes_out(message: Any) -> None:
    assert same(unpack(pack(message)), message)


@given(npst.arrays(np.int16, st.just((4, 6, 5))), st.permutations(range(3)))
def test_arrays_go_out_in_c_order_however_they_lie(array: np.ndarray, axes: list[int]) -> None:
    view = array.transpose(axes)[::2, :, ::-1]
    came = unpack(pack(view))
    assert came.flags.c_contiguous and np.array_equal(came, view)


def test_what_came_is_a_view_nobody_can_write_to() -> None:
    data = pack({"image": np.zeros((3, 8, 8), np.uint8)})
    image = unpack(data)["image"]
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1
    assert image.base is not None


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, np.complex64),
        np.complex128(1),
        np.array([object()]),
        np.zeros(2, [("a", "f4")]),
        np.longdouble(1),
        {"state": {1, 2}},
        datetime.datetime(2026, 1, 1),
        2**70,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_not_sent(value: Any) -> None:
    with pytest.raises(CodecError, match="cannot be sent"):
        pack([1, value])
    assert pack({}) == b"\x80", "nothing of it is left over"


def encoded_array(**changes: Any) -> bytes:
    fields = {"__ndarray__": True, "data": bytes(12), "dtype": "<f4", "shape": [3]} | changes
    return msgpack.packb({key.encode(): value for key, value in fields.items()})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "no message"),
        (b"\xc1", "no message"),
        (pack([1, 2])[:-1], "no message"),
        (pack(1) + pack(2), "no message"),
        (msgpack.packb({1: 2}), "no message"),
        (b"\x91" * 5000 + b"\x90", "no message"),
        (b"\xdd\xff\xff\xff\xff", "no message"),
        (encoded_array(dtype="|O"), "dtype"),
        (encoded_array(dtype="|V4"), "dtype"),
        (encoded_array(dtype="<c8"), "dtype"),
        (encoded_array(dtype="f4,f4"), "dtype"),
        (encoded_array(dtype="<f3"), "no message"),
        (encoded_array(dtype=7), "dtype"),
        (encoded_array(shape=[4]), "in 12 bytes"),
        (encoded_array(shape=[-1, -3]), "no shape"),
        (encoded_array(shape=[2**62, 4]), "in 12 bytes"),
        (encoded_array(shape=3), "no shape"),
        (encoded_array(shape=[1] * 40 + [3]), "no shape"),
        (encoded_array(data=b"", dtype="<U0", shape=[10**12]), "in 0 bytes"),
        (encoded_array(data="text"), "without bytes"),
        (msgpack.packb({b"__npgeneric__": True, b"data": [1], b"dtype": "<f4"}), "without a value"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "no message"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        unpack(message)


def test_a_message_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(CodecError, match="1001 bytes, 1000 are accepted"):
        unpack(b"\xc1" * 1001, limit=1000)


@given(st.binary(max_size=80), st.data())
def test_noise_is_refused_or_means_something_never_a_crash(noise: bytes, data: st.DataObject) -> None:
    whole = bytearray(bytes.fromhex(STATE))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + 3] = noise[:3]
    for message in (noise, bytes(whole)):
        try:
            unpack(message)
        except CodecError as error:
            assert "\n" not in str(error)
