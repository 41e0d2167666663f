from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from robot_client.policy_connection import Answer, Link, PolicyConnection
from robot_client.station_config import PolicyServerSection
from tests.support.openpi_server import OpenpiServer, array, metadata, openpi_server, reply, text

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[OpenpiServer]:
    with openpi_server(metadata("policy-7", 3)) as running:
        yield running


@pytest.fixture
def connection(server: OpenpiServer) -> Iterator[PolicyConnection]:
    made = PolicyConnection(PolicyServerSection(host="127.0.0.1", port=server.port, reply_timeout_s=0.5))
    yield made
    made.close()


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def asked(connection: PolicyConnection) -> Answer:
    connection.ask({"state": np.arange(3, dtype=np.float32)})
    answer = connection.answer(10)
    assert answer is not None
    return answer


def connected(connection: PolicyConnection) -> Link:
    until(lambda: connection.link.connected)
    return connection.link


def test_speaks_openpis_bytes(server: OpenpiServer, connection: PolicyConnection) -> None:
    link = connected(connection)
    assert (link.policy.policy_id, link.policy.iteration) == ("policy-7", 3)
    server.answer = lambda _observation: reply(0.25, horizon=5, joints=3)
    answer = asked(connection)
    # What openpi-client 0.1.2 writes for this observation.
    assert server.received == [
        bytes.fromhex(
            "81a5737461746584c40b5f5f6e6461727261795f5fc3c40464617461c40c000000000000803f00000040c4056474797065"
            "a33c6634c40573686170659103"
        )
    ]
    assert not answer.error
    np.testing.assert_array_equal(answer.actions, np.full((5, 3), 0.25, np.float32))
    assert answer.actions.dtype == np.float32
    assert answer.server_ms == 1.5
    assert answer.latency_ms > 0


def test_sends_the_key_and_connects_without_one_to_a_server_that_says_nothing(
    server: OpenpiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.metadata = b"\x80"
    monkeypatch.setenv("FLYWHEEL_POLICY_KEY", "secret")
    connection = PolicyConnection(PolicyServerSection(host=f"ws://127.0.0.1:{server.port}"))
    try:
        link = connected(connection)
        assert (link.policy.policy_id, link.policy.iteration) == ("", None)
        assert server.headers[-1]["Authorization"] == "Api-Key secret"
    finally:
        connection.close()


def test_a_text_is_the_servers_word_on_what_is_wrong(server: OpenpiServer, connection: PolicyConnection) -> None:
    connected(connection)
    server.answer = lambda _observation: "Traceback (most recent call last):\n  File \"x\"\nKeyError: 'state'\n"
    answer = asked(connection)
    assert answer.error == "the policy server says: KeyError: 'state'"
    assert not answer.lost
    # The server closes after that; the next question goes over a new connection.
    server.answer = lambda _observation: reply()
    until(lambda: connection.link.connections == 2)
    assert not asked(connection).error


def test_a_server_cannot_write_into_the_terminal(server: OpenpiServer, connection: PolicyConnection) -> None:
    server.metadata = metadata("\x1b[2J\nx", 0)
    assert connection.renew(5).policy.policy_id == "[2J x"
    server.answer = lambda _observation: "line\n\x1b]0;title\x07 boom"
    assert asked(connection).error == "the policy server says: ]0;title boom"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        (b"\x81" + text("reward") + b"\x01", "the policy server's reply has no 'actions'"),
        (b"\xc1nonsense", "what came is no message"),
        (b"\x81" + text("actions") + array(b"\0" * 8, "|O8", (1,)), "dtype '|O8' came"),
    ],
)
def test_a_reply_that_is_none_is_told_in_one_line(
    server: OpenpiServer, connection: PolicyConnection, said: bytes, wrong: str
) -> None:
    connected(connection)
    server.answer = lambda _observation: said
    answer = asked(connection)
    assert wrong in answer.error
    assert "\n" not in answer.error
    server.answer = lambda _observation: reply()
    assert not asked(connection).error


def test_a_cut_connection_and_a_silent_server_lose_the_question_and_are_connected_anew(
    server: OpenpiServer, connection: PolicyConnection
) -> None:
    connected(connection)
    server.delay_s = 0.2
    connection.ask({"state": np.zeros(3, np.float32)})
    until(lambda: bool(server.received))
    server.cut()
    answer = connection.answer(10)
    assert answer is not None
    assert answer.lost
    server.delay_s = 3.0  # longer than this client waits
    until(lambda: connection.link.connections == 2)
    began = time.monotonic()
    assert asked(connection).lost
    assert time.monotonic() - began < 2.5
    server.delay_s = 0.0
    until(lambda: connection.link.connections == 3)
    assert not asked(connection).error


def test_a_server_that_is_away_is_named_and_found_when_it_comes() -> None:
    with openpi_server() as gone:
        port = gone.port
    connection = PolicyConnection(PolicyServerSection(host="127.0.0.1", port=port))
    try:
        until(lambda: "no policy server at" in connection.link.error)
        assert asked(connection).lost
        with openpi_server(metadata("late", 0), port):
            assert connected(connection).policy.policy_id == "late"
    finally:
        connection.close()


def test_renew_tells_what_is_served_now(server: OpenpiServer, connection: PolicyConnection) -> None:
    connected(connection)
    server.metadata = metadata("policy-8", 4)
    assert connection.renew(5).policy.policy_id == "policy-8"


def test_only_the_newest_question_is_answered(server: OpenpiServer, connection: PolicyConnection) -> None:
    connected(connection)
    server.delay_s = 0.1
    values = iter((1.0, 2.0))
    server.answer = lambda _observation: reply(next(values))
    connection.ask({"state": np.zeros(3, np.float32)})
    until(lambda: len(server.received) == 1)
    newest = connection.ask({"state": np.ones(3, np.float32)})
    answer = connection.answer(5)
    assert answer is not None
    assert answer.ticket == newest
    assert answer.actions[0, 0] == 2.0
    connection.ask({"state": np.zeros(3, np.float32)})
    connection.forget()
    assert connection.answer(0.3) is None
