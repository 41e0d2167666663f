"""The connection to a policy server that speaks openpi's protocol: made anew whenever it breaks, never waited for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from hitl_ops.contracts.errors import UserError
from hitl_ops.serving.openpi_codec import MESSAGE_BYTES, CodecError, pack, unpack
from robot_client.foreign_text import shown
from robot_client.station_config import PolicyServerSection

_AGAIN_S = 0.3
_LOOK_S = 0.1
_CLOSE_S = 0.5


@dataclass(frozen=True)
class ServedPolicy:
    """What the server says of its policy.

    Attributes:
        policy_id: names the weights; empty where the server does not say.
        iteration: the epoch that is collected with it; None where the server does not say.
        metadata: everything it said.
    """

    policy_id: str = ""
    iteration: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, metadata: Any) -> ServedPolicy:
        """Out of the map a server sends first; a plain openpi server's may be empty.

        Raises:
            CodecError: it is no map, or says what cannot be.
        """
        if not isinstance(metadata, dict):
            raise CodecError(f"the server began with {type(metadata).__name__}, no map", "connect to a policy server")
        # A server may serve an older iteration's policy for a newer epoch: then it says which epoch is open.
        iteration = metadata.get("epoch", metadata.get("iteration"))
        if iteration is not None and (not isinstance(iteration, int) or not 0 <= iteration <= 999_999):
            raise CodecError(f"the server names iteration {shown(iteration)}", "it must be a number from 0")
        return cls(shown(metadata.get("policy_id") or "", longest=200), iteration, metadata)


@dataclass(frozen=True)
class Link:
    """How the connection is.

    Attributes:
        connected: whether observations can be sent now.
        policy: what is served; that of the last connection while there is none.
        error: why there is no connection; empty while there is one.
        connections: how often one was made; a server that was restarted shows by it.
    """

    connected: bool = False
    policy: ServedPolicy = field(default_factory=ServedPolicy)
    error: str = "not connected yet"
    connections: int = 0


@dataclass(frozen=True)
class Answer:
    """What became of an observation.

    Attributes:
        ticket: what :meth:`PolicyConnection.ask` returned.
        actions: what the server sent as actions, unchecked; None where nothing came.
        latency_ms: from sending to the whole reply.
        server_ms: what the server says it took; None where it does not say.
        error: why there are no actions; empty otherwise.
        lost: the connection broke, or no reply came in time; asking again may help.
        policy_id: who chose them; empty where the server does not say.
    """

    ticket: int
    actions: Any = None
    latency_ms: float = 0.0
    server_ms: float | None = None
    error: str = ""
    lost: bool = False
    policy_id: str = ""


class PolicyConnection:
    """Asks a policy server from a thread of its own.

    At most one observation is under way; its answer is fetched with :meth:`answer`.

    Args:
        server: where it is, and how long it may take.
    """

    def __init__(self, server: PolicyServerSection) -> None:
        self._server = server
        self._changed = threading.Condition()
        self._link = Link()
        self._question: tuple[int, Mapping[str, Any]] | None = None
        self._answer: Answer | None = None
        self._ticket = 0
        self._renewals = 0
        self._begun = 0  # how many renewals had been asked for when the present connection was begun
        self._closing = False
        self._live: ClientConnection | None = None
        self._thread = threading.Thread(target=self._work, name="policy-connection", daemon=True)
        self._thread.start()

    @property
    def link(self) -> Link:
        """How the connection is."""
        return self._link

    def ask(self, observation: Mapping[str, Any]) -> int:
        """Send an observation; never waits. Returns the ticket its answer will carry; an older one's is dropped."""
        with self._changed:
            self._ticket += 1
            self._answer = None
            self._question = (self._ticket, observation)
            self._changed.notify_all()
            return self._ticket

    def answer(self, wait_s: float = 0.0) -> Answer | None:
        """The answer to the last question, once.

        Args:
            wait_s: how long to wait for it, seconds.
        """
        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(lambda: self._answer is not None or self._closing, wait_s)
            found, self._answer = self._answer, None
            return found

    def forget(self) -> None:
        """Whatever was asked, nobody waits for it any more."""
        with self._changed:
            self._ticket += 1
            self._question = self._answer = None

    def renew(self, wait_s: float = 0.0) -> Link:
        """Connect anew, so that what the server says of its policy is what it serves now.

        Args:
            wait_s: how long to wait for it, seconds.
        """
        with self._changed:
            self._renewals += 1
            wanted = self._renewals
            self._changed.notify_all()
            if wait_s > 0:
                self._changed.wait_for(
                    lambda: (self._link.connected and self._begun >= wanted) or self._closing, wait_s
                )
            return self._link

    def close(self) -> None:
        """Close the connection and end the thread; twice is harmless."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if self._live is not None:
                # A reply that is being waited for need not come any more.
                with contextlib.suppress(OSError):
                    self._live.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(self._server.connect_timeout_s + 2 * _CLOSE_S)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing:
            with self._changed:
                self._begun = self._renewals
            try:
                with self._connected() as connection:
                    self._converse(connection)
                error = ""
            except ConnectionClosed:
                error = "the policy server closed the connection"
            except InvalidStatus as refusal:
                status = refusal.response.status_code
                error = "the policy server refuses the API key" if status in (401, 403) else f"it answers HTTP {status}"
            except InvalidURI:
                error = f"'{self._server.url}' is no WebSocket address"
            except TimeoutError:
                error = f"the policy server at {self._server.url} does not answer"
            except (OSError, WebSocketException, UserError) as problem:
                reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
                error = f"no policy server at {self._server.url} ({reason})"
            with self._changed:
                self._link = Link(False, self._link.policy, error or "connecting anew", self._link.connections)
                if self._question is not None:
                    self._settle(Answer(self._question[0], error=self._link.error, lost=True))
                self._changed.wait_for(lambda: self._closing or self._outdated, _AGAIN_S)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ClientConnection]:
        key = self._server.api_key
        with connect(
            self._server.url,
            additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
            compression=None,
            proxy=None,
            open_timeout=self._server.connect_timeout_s,
            close_timeout=_CLOSE_S,
            # A server that infers in its event loop answers no pings meanwhile; replies have a time limit anyway.
            ping_interval=None,
            max_size=MESSAGE_BYTES,
        ) as connection:
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                # A cut cable must not leave a send waiting for ever.
                limit = int(self._server.reply_timeout_s * 1000)
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            policy = ServedPolicy.of(self._message(connection, self._server.connect_timeout_s))
            with self._changed:
                self._live = connection
                self._link = Link(True, policy, "", self._link.connections + 1)
                self._changed.notify_all()
            try:
                yield connection
            finally:
                with self._changed:
                    self._live = None

    def _message(self, connection: ClientConnection, within_s: float) -> Any:
        """The server's next message.

        Raises:
            UserError: it is a text: the server's way to say what is wrong.
        """
        data = connection.recv(timeout=within_s)
        if isinstance(data, str):
            # Some servers send a traceback; its last line says what happened.
            lines = [line for line in data.splitlines() if line.strip()]
            raise _Refused(f"the policy server says: {shown(lines[-1]) if lines else 'nothing'}")
        return unpack(bytes(data))

    def _converse(self, connection: ClientConnection) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._question or self._outdated or self._closing, _LOOK_S)
                if self._outdated or self._closing:
                    return
                question = self._question
            if question is None:
                # Nothing is expected; this only notices when the server has gone.
                with contextlib.suppress(TimeoutError):
                    connection.recv(timeout=0)
                continue
            answer = self._asked(connection, *question)
            with self._changed:
                self._settle(answer)

    def _asked(self, connection: ClientConnection, ticket: int, observation: Mapping[str, Any]) -> Answer:
        began = time.perf_counter()
        try:
            connection.send(pack(observation))
            reply = self._message(connection, self._server.reply_timeout_s)
        except CodecError as error:
            return Answer(ticket, error=str(error))
        except _Refused as refusal:
            return Answer(ticket, error=str(refusal))
        latency = (time.perf_counter() - began) * 1000
        if not isinstance(reply, dict) or "actions" not in reply:
            return Answer(ticket, error="the policy server's reply has no 'actions'", latency_ms=latency)
        timing = reply.get("server_timing")
        told = timing.get("infer_ms") if isinstance(timing, dict) else None
        return Answer(
            ticket,
            reply["actions"],
            latency,
            float(told) if isinstance(told, int | float) else None,
            policy_id=shown(reply.get("policy_id") or "", longest=200),
        )

    @property
    def _outdated(self) -> bool:
        return self._renewals > self._begun

    def _settle(self, answer: Answer) -> None:
        """Hand an answer over, unless something newer was asked meanwhile; called with the lock held."""
        if self._question is not None and self._question[0] == answer.ticket:
            self._question = None
            self._answer = answer
            self._changed.notify_all()


class _Refused(UserError):
    """The server answered with a text."""
