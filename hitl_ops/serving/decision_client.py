"""Asks the decision server, for one who must never wait: a tick loop."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from pydantic import ValidationError

from hitl_ops.serving.decision_messages import (
    SERVER_ANSWERS,
    DecisionMade,
    DecisionRefused,
    DecisionRequest,
    ForgetRequest,
    ServerStatus,
    StatusRequest,
)
from hitl_ops.serving.wire import Link, WireError

_RECONNECT_S = 0.5


class DecisionClient:
    """A connection that is made anew whenever it breaks; what was asked over a broken one comes back as refused.

    Args:
        path: the server's Unix socket.
        patience_s: seconds after which an answer is no longer waited for and the connection is made anew.
    """

    def __init__(self, path: str | Path, *, patience_s: float = 30.0) -> None:
        self._path = str(path)
        self._patience_s = patience_s
        self._link: Link | None = None
        self._try_again_at = 0.0
        self._asked: dict[int, float] = {}
        self._lost: list[DecisionRefused] = []
        self._next_id = 0
        self.status: ServerStatus | None = None
        """The last status received; see :meth:`ask_status`."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection; made by the next question if it is time."""
        return self._link is not None

    @property
    def waiting(self) -> int:
        """Questions not answered yet."""
        return len(self._asked)

    def ask(self, session: str, agent: int, prompt: str, admissible: list[str], style: str = "incremental") -> int:
        """Ask for a decision; never waits. Returns the id that its answer, made or refused, will carry.

        Raises:
            ValidationError: the question is out of bounds.
        """
        request = DecisionRequest.model_validate(
            {
                "id": self._next_id,
                "session": session,
                "agent": agent,
                "prompt": prompt,
                "admissible": admissible,
                "style": style,
            }
        )
        self._next_id += 1
        if self._send(request.model_dump()):
            self._asked[request.id] = time.monotonic()
        else:
            self._lost.append(DecisionRefused(id=request.id, reason="the decision server is away", lasting=False))
        return request.id

    def forget(self, session: str) -> None:
        """Tell the server that a session is over; where it is away, it has forgotten anyway."""
        if self._link is not None:
            self._send(ForgetRequest(session=session).model_dump())

    def ask_status(self) -> None:
        """Have :attr:`status` brought up to date."""
        self._send(StatusRequest().model_dump())

    def receive(self) -> list[DecisionMade | DecisionRefused]:
        """The answers that have come in; never waits."""
        answers: list[DecisionMade | DecisionRefused] = []
        if self._link is not None:
            try:
                self._link.flush()
                for message in self._link.receive():
                    answer = SERVER_ANSWERS.validate_python(message)
                    if isinstance(answer, ServerStatus):
                        self.status = answer
                    elif self._asked.pop(answer.id, None) is not None:
                        answers.append(answer)
            except (WireError, ValidationError) as error:
                self._break_off(str(error))
            oldest = next(iter(self._asked.values()), None)
            if oldest is not None and time.monotonic() - oldest > self._patience_s:
                self._break_off(f"no answer for {self._patience_s:.0f} s")
        lost, self._lost = self._lost, []
        return [*answers, *lost]

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _send(self, message: dict[str, object]) -> bool:
        if self._link is None and not self._connect():
            return False
        assert self._link is not None
        try:
            self._link.send(message)
        except WireError as error:
            self._break_off(str(error))
            return False
        return True

    def _connect(self) -> bool:
        now = time.monotonic()
        if now < self._try_again_at:
            return False
        self._try_again_at = now + _RECONNECT_S
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            return False
        self._link = Link(connection)
        return True

    def _break_off(self, reason: str) -> None:
        self.close()
        self.status = None
        self._lost += [DecisionRefused(id=number, reason=reason, lasting=False) for number in self._asked]
        self._asked.clear()
