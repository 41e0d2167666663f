"""The worker at the other end of a raw socket, on this Python and on 3.9: it answers, refuses or closes."""

from __future__ import annotations

import ast
import contextlib
import math
import os
import py_compile
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_ops.worlds.habitat import worker
from tests.support import flat_backend
from tests.support.old_python import python39

PATIENCE_S = 20.0
GONE: Any = None
_LENGTH = struct.Struct(">I")


class Worker:
    """A worker's process, and connections to it."""

    def __init__(self, python: str, *options: str, unix: bool = True) -> None:
        self.token = secrets.token_hex(16)
        self.folder = tempfile.mkdtemp(prefix="flywheel-worker-test-")
        place = ["--socket", f"{self.folder}/s"] if unix else []
        environment = {**os.environ, "PYTHONPATH": str(Path(flat_backend.__file__).parent)}
        self.process = subprocess.Popen(
            [python, worker.__file__, "--backend", "flat_backend:FlatBackend", *place, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{self.token}\n".encode())
        self.process.stdin.flush()
        self.address = self.process.stdout.readline().decode().removeprefix("ready ").strip()
        self.number = 0
        self.kept: socket.socket | None = None

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX) if not self.address.isdecimal() else socket.socket()
        connection.settimeout(PATIENCE_S)
        connection.connect(self.address if not self.address.isdecimal() else ("127.0.0.1", int(self.address)))
        return connection

    def welcomed(self, load: bool = True) -> socket.socket:
        """A connection that has said hello."""
        connection = self.connect()
        hello = self.ask(connection, "hello", protocol=worker.PROTOCOL, token=self.token)
        assert hello["ok"], hello
        if load:
            assert self.ask(connection, "load", scene={"kind": "home", "scene_id": "h", "folder": ""})["ok"]
        return connection

    def ask(self, connection: socket.socket, do: str, **arguments: Any) -> Any:
        self.number += 1
        send(connection, {"id": self.number, "do": do, **arguments})
        answer = receive(connection)
        assert answer is GONE or answer["id"] == self.number
        return answer

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.kept is not None:
            self.kept.close()
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def send(connection: socket.socket, message: Any) -> None:
    body = msgpack.packb(message)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> Any:
    """The next answer; GONE where the worker has closed. A worker that says nothing at all fails the test."""
    data = b""
    wanted = _LENGTH.size
    while len(data) < wanted:
        try:
            more = connection.recv(wanted - len(data))
        except (ConnectionResetError, BrokenPipeError):
            return GONE
        if not more:
            return GONE
        data += more
        if len(data) == _LENGTH.size:
            wanted += _LENGTH.unpack(data)[0]
    return msgpack.unpackb(data[_LENGTH.size :])


def refused(answer: Any) -> bool:
    if answer is GONE:
        return False
    assert answer["ok"] is False and set(answer) == {"id", "ok", "error"}
    assert answer["error"]["what"] and "\n" not in answer["error"]["what"]
    return True


@pytest.fixture(scope="module", params=["3.12", "3.9"])
def python(request: pytest.FixtureRequest) -> str:
    return sys.executable if request.param == "3.12" else str(python39())


@pytest.fixture
def there(python: str) -> Iterator[Worker]:
    started = Worker(python)
    yield started
    started.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_worker_whose_starter_has_gone_before_it_was_ready_leaves_no_socket(tmp_path: Path) -> None:
    """Who is killed while the worker binds reads no address any more; the file must go all the same."""
    place = tmp_path / "home" / "s"
    place.parent.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(flat_backend.__file__).parent)}
    process = subprocess.Popen(
        [sys.executable, worker.__file__, "--backend", "flat_backend:FlatBackend", "--socket", str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"token\n")
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == 1
    assert process.stderr.read().decode().splitlines() == ["whoever started it is gone"]
    process.stdin.close()
    process.stderr.close()
    assert not place.parent.exists()


def test_the_worker_compiles_on_the_oldest_python(tmp_path: Path, python: str) -> None:
    code = f"import py_compile; py_compile.compile({worker.__file__!r}, {str(tmp_path / 'w.pyc')!r}, doraise=True)"
    assert subprocess.run([python, "-W", "error", "-c", code], check=False).returncode == 0
    assert py_compile.compile(worker.__file__, str(tmp_path / "ours.pyc"), doraise=True)


def test_it_needs_nothing_but_what_it_says() -> None:
    nodes = list(ast.walk(ast.parse(Path(worker.__file__).read_text())))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    outside = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert outside <= {"numpy", "msgpack", "habitat_sim", "magnum"}, outside


def test_every_question_is_answered(there: Worker) -> None:
    connection = there.connect()
    hello = there.ask(connection, "hello", protocol=worker.PROTOCOL, token=there.token)
    assert hello["ok"] and hello["protocol"] == worker.PROTOCOL and hello["backend"] == "flat"
    assert hello["versions"]["flat"] == "1" and hello["capabilities"] == ["rgb", "depth", "semantic"]
    assert there.ask(connection, "ping")["ok"], "before a scene is open too"
    loaded = there.ask(connection, "load", scene={"kind": "home", "scene_id": "h", "folder": "f"})
    assert loaded["anchors"] == ["floor_room_1"]
    assert there.ask(connection, "slide", x=1, z=2.0, dx=0.5, dz=-9)["place"] == [1.5, 0.0]
    assert there.ask(connection, "route", start=[1, 1], target="room_1")["route"]["points"] == [[1.0, 1.0], [5.0, 5.0]]
    assert there.ask(connection, "route", start=[1, 1], target=[1, 4])["route"]["lengths"] == [0.0, 3.0]
    mask = there.ask(connection, "seen_from", x=0.0, z=0.0, doors_open=f"{1 << 200:x}")["mask"]
    assert int(mask, 16) == 1 << 200 | 1 << 100, "masks are of any size"
    assert there.ask(connection, "line_of_sight", a=[0, 0], b=[1, 1], doors_open="0")["clear"] is True
    assert there.ask(connection, "doors_at", x=0.0, z=0.0)["mask"] == "0"
    ahead = there.ask(connection, "ahead", places=[[0, 0], [1, 9.5]], doors_open="8")
    assert ahead["doors"] == ["0", "2"], "a door at the far wall"
    assert [int(mask, 16) for mask in ahead["seen"]] == [8 | 1 << 100, 8 | 2 | 1 << 100], "seen with that door open"
    assert there.ask(connection, "room_at", x=0.0, z=0.0)["room"] == "room_1"
    assert there.ask(connection, "slots", parent="floor_room_1", relation="floor")["slots"] == [[1.0, 0.0, 1.0]]
    moment = {"objects": [], "agents": [], "open": [], "states": {}, "doors_open": "0"}
    assert there.ask(connection, "show", moment=moment)["ok"]
    drawn = there.ask(connection, "picture", camera={}, width=4, height=3, kinds=["rgb", "semantic"])
    assert (drawn["rgb"]["shape"], drawn["rgb"]["dtype"], len(drawn["rgb"]["data"])) == ([3, 4, 3], "uint8", 36)
    assert (drawn["semantic"]["shape"], drawn["semantic"]["dtype"]) == ([3, 4], "int32")
    assert there.ask(connection, "bye")["ok"]
    assert receive(connection) is GONE
    assert there.ended() == 0


def test_a_port_of_this_machine_does_where_there_are_no_unix_sockets(python: str) -> None:
    there = Worker(python, unix=False)
    assert there.address.isdecimal()
    with there.connect() as stranger:
        assert refused(there.ask(stranger, "hello", protocol=worker.PROTOCOL, token="0" * 32))
    with there.welcomed() as connection:
        assert there.ask(connection, "ping")["ok"]
    there.ended()
    there.close()


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"do": "hello", "protocol": worker.PROTOCOL, "token": "wrong"}, "token is wrong"),
        ({"do": "hello", "protocol": worker.PROTOCOL}, "token"),
        ({"do": "hello", "protocol": worker.PROTOCOL, "token": 7}, "token"),
        ({"do": "hello", "protocol": worker.PROTOCOL, "token": "täuschung"}, "token is wrong"),
        ({"do": "hello", "protocol": 1, "token": GONE}, "protocol 1, this worker protocol 2"),
        ({"do": "hello", "token": GONE}, "this worker protocol 2"),
        ({"do": "load", "scene": {}}, "before 'hello'"),
        ({"do": "ping"}, "before 'hello'"),
    ],
)
def test_strangers_are_sent_away_and_the_door_stays_open(there: Worker, hello: dict[str, Any], said: str) -> None:
    with there.connect() as stranger:
        send(stranger, {"id": 0, **hello, **({"token": there.token} if hello.get("token", 1) is GONE else {})})
        answer = receive(stranger)
        assert refused(answer) and said in answer["error"]["what"]
        assert receive(stranger) is GONE
    with there.welcomed() as connection:
        assert there.ask(connection, "ping")["ok"]


def test_somebody_who_says_nothing_is_sent_away(there: Worker) -> None:
    silent = there.connect()
    dripping = there.connect()
    dripping.sendall(b"\x00")
    assert receive(silent) is GONE and receive(dripping) is GONE
    with there.welcomed() as connection:
        assert there.ask(connection, "ping")["ok"]
    silent.close()
    dripping.close()


def test_silent_strangers_delay_nobody(there: Worker) -> None:
    """The first thing that happens to any of them is the true client's answer; then the others' connections end."""
    strangers = [there.connect() for _ in range(3)]
    strangers[1].sendall(b"\x00")
    client = there.connect()
    send(client, {"id": 7, "do": "hello", "protocol": worker.PROTOCOL, "token": there.token})
    first, _, _ = select.select([client, *strangers], [], [], PATIENCE_S)
    assert client in first, "a stranger's time had to end before"
    assert receive(client)["ok"]
    there.number = 7
    assert there.ask(client, "ping")["ok"]
    ended, _, _ = select.select(strangers, [], [], 0)
    assert ended == strangers, "they are sent away before the session begins"
    assert [receive(stranger) for stranger in strangers] == [GONE] * 3
    client.close()


def test_no_more_than_a_few_are_heard_at_once(there: Worker) -> None:
    silent = [there.connect() for _ in range(worker._WAITING)]
    client = there.connect()
    send(client, {"id": 7, "do": "hello", "protocol": worker.PROTOCOL, "token": there.token})
    heard, _, _ = select.select([client, *silent], [], [], 0.5)
    assert client not in heard, "one more than may wait was heard"
    silent.pop(0).close()
    heard, _, _ = select.select([client, *silent], [], [], PATIENCE_S)
    assert client in heard, "there is room for one more"
    assert receive(client)["ok"]
    for connection in (client, *silent):
        connection.close()


def test_the_wrong_order_and_the_backends_own_mistakes_are_answered(there: Worker) -> None:
    connection = there.welcomed(load=False)
    assert "no scene" in there.ask(connection, "slide", x=0, z=0, dx=0, dz=0)["error"]["what"]
    assert refused(there.ask(connection, "load"))
    assert refused(there.ask(connection, "load", scene={"kind": "castle"}))
    scene = {"kind": "dataset", "scene_id": "h", "config": "c"}
    for wrong in (
        7,
        {"objects": []},
        {"objects": {"table": [{"name": "a", "link": ""}]}},
        {"objects": {"table": [{"name": "a", "link": "", "points": [[0.0, 1.0]]}]}},
        {"objects": {"table": [{"name": "a", "link": "", "points": [[0.0, 1.0, math.nan]]}]}},
        {"articulated": {"chest": {"receptacles": []}}},
        {"articulated": {"chest": {"receptacles": [], "opens": {"drawer": [0.0]}}}},
        {"unused": [7]},
    ):
        assert refused(there.ask(connection, "load", scene={**scene, "annotations": wrong})), wrong
    points = [{"name": "a", "link": "", "points": [[0.0, 1.0, 0.0]]}]
    told = {"objects": {"table": points}, "articulated": {"chest": {"receptacles": points, "opens": None}}}
    assert there.ask(connection, "load", scene={**scene, "annotations": {**told, "unused": ["b"]}})["ok"]
    assert "already" in there.ask(connection, "load", scene={"kind": "home"})["error"]["what"]
    assert "cannot do 'dance'" in there.ask(connection, "dance")["error"]["what"]
    answer = there.ask(connection, "room_at", x=13, z=0)
    assert answer["error"]["what"] == "ZeroDivisionError: thirteen"
    assert refused(there.ask(connection, "hello", protocol=worker.PROTOCOL, token=there.token)), "once is enough"
    assert there.ask(connection, "room_at", x=12, z=0)["ok"]


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [
        "x",
        "z",
        "dx",
        "dz",
        "start",
        "target",
        "a",
        "b",
        "doors_open",
        "parent",
        "relation",
        "moment",
        "camera",
        "width",
        "height",
        "kinds",
        "places",
        "scene",
        "token",
    ]
)
_QUESTIONS = [
    "route",
    "seen_from",
    "line_of_sight",
    "doors_at",
    "ahead",
    "slide",
    "room_at",
    "slots",
    "show",
    "picture",
    "load",
]
_SLOW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@given(do=st.sampled_from([*_QUESTIONS, "ping", "hello"]) | st.text(max_size=10), arguments=st.data())
@_SLOW
def test_whatever_is_asked_is_answered(there: Worker, do: str, arguments: st.DataObject) -> None:
    """Missing, superfluous, wrong: every question of a client that knows the token has exactly one answer."""
    if do == "bye":
        return
    if there.kept is None:
        there.kept = there.welcomed()
    connection = there.kept
    given_ = arguments.draw(st.dictionaries(_NAMES, _VALUES, max_size=6))
    answer = there.ask(connection, do, **given_)
    assert answer is not GONE
    assert answer["ok"] or refused(answer)
    assert there.ask(connection, "room_at", x=0.5, z=0.5) == {"id": there.number, "ok": True, "room": "room_1"}


@given(
    junk=st.binary(min_size=1, max_size=200)
    | st.builds(lambda body: _LENGTH.pack(len(body)) + body, st.binary(max_size=100))
    | st.builds(lambda value: _LENGTH.pack(len(b := msgpack.packb(value))) + b, _VALUES)
    | st.builds(lambda size: _LENGTH.pack(size) + b"xx", st.integers(5000, 2**32 - 1))
)
@_SLOW
def test_junk_before_hello_closes_that_connection_only(there: Worker, junk: bytes) -> None:
    with there.connect() as stranger:
        stranger.sendall(junk)
        stranger.shutdown(socket.SHUT_WR)
        while (answer := receive(stranger)) is not GONE:
            assert refused(answer)
    assert there.lives


@pytest.mark.slow
@given(
    junk=st.one_of(
        st.builds(lambda size: _LENGTH.pack(size), st.integers(worker.FRAME_BYTES + 1, 2**32 - 1)),
        st.builds(lambda body: _LENGTH.pack(len(body)) + body, st.binary(max_size=100)).filter(
            lambda frame: not _is_question(frame[4:])
        ),
        st.builds(lambda value: _LENGTH.pack(len(b := msgpack.packb(value))) + b, _VALUES).filter(
            lambda frame: not _is_question(frame[4:])
        ),
    )
)
@settings(_SLOW, max_examples=15)
def test_junk_in_a_session_ends_it_and_the_worker_cleanly(python: str, junk: bytes) -> None:
    there = Worker(python)
    try:
        with there.welcomed() as connection:
            connection.sendall(junk)
            assert receive(connection) is GONE
        assert there.ended() == 1, "not by a signal, and not by a traceback"
    finally:
        there.close()


def _is_question(body: bytes) -> bool:
    try:
        asked = msgpack.unpackb(body)
    except Exception:
        return False
    return isinstance(asked, dict) and type(asked.get("id")) is int and asked["id"] >= 0 and "do" in asked


def test_half_a_frame_and_a_bomb(there: Worker) -> None:
    """A frame that claims millions of entries, and one that is nested without end, cost nothing."""
    for body in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x81\xa1x" + b"\x91" * 3000):
        with there.connect() as stranger:
            stranger.sendall(_LENGTH.pack(len(body)) + body)
            assert receive(stranger) is GONE
    with there.connect() as stranger:
        stranger.sendall(_LENGTH.pack(100) + b"half")
    with there.welcomed() as connection:
        # In pieces, and two at once.
        frame = msgpack.packb({"id": 5, "do": "ping"})
        for byte in _LENGTH.pack(len(frame)) + frame:
            connection.sendall(bytes([byte]))
        assert receive(connection) == {"id": 5, "ok": True}
        connection.sendall((_LENGTH.pack(len(frame)) + frame) * 2)
        assert [receive(connection)["id"] for _ in range(2)] == [5, 5]


def test_a_picture_too_large_for_a_frame_is_refused_not_sent(there: Worker) -> None:
    with there.welcomed() as connection:
        answer = there.ask(connection, "picture", camera={}, width=4096, height=4096, kinds=["rgb", "depth"])
        assert refused(answer)
        assert there.ask(connection, "ping")["ok"]


@pytest.mark.parametrize("how", ["connection", "stdin", "sigterm", "silence", "stdin before anybody came"])
def test_it_ends_with(how: str, python: str) -> None:
    there = Worker(python, "--silence", "0.5" if how == "silence" else "60")
    try:
        assert there.process.stdin is not None
        if how == "stdin before anybody came":
            there.process.stdin.close()
            assert there.ended() == 0
            assert not os.path.exists(there.folder), "nothing is left of its socket"
            return
        connection = there.welcomed()
        assert not os.path.exists(there.folder), "nobody else can come"
        if how == "connection":
            connection.close()
        elif how == "stdin":
            there.process.stdin.close()
        elif how == "sigterm":
            there.process.send_signal(signal.SIGTERM)
        there.ended()
        assert there.process.returncode in (0, 1)
    finally:
        there.close()


def test_without_a_token_it_does_not_begin(python: str) -> None:
    done = subprocess.run(
        [python, worker.__file__], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "token" in done.stderr and not done.stdout
