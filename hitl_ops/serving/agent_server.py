"""Lets another process on this machine ask an agent for commands: environments on one side, the model on the other.

HTTP on the loopback address only, with a token that the server makes; bodies are MessagePack with arrays
(:mod:`hitl_ops.serving.openpi_codec`), bounded before they are read. ``POST /choose`` and ``/write`` answer, ``/fits``
says what the agent can read, ``GET /status`` who answers. The agent is asked by one at a time.
"""

from __future__ import annotations

import hmac
import secrets
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from hitl_ops.contracts.errors import UserError
from hitl_ops.rollouts.game_agent import AgentAnswer, GameAgent
from hitl_ops.serving.openpi_codec import CodecError, pack, unpack
from hitl_ops.serving.policy_server_config import is_local

HOST = "127.0.0.1"
CONTENT_TYPE = "application/msgpack"
BODY_BYTES = 32 * 2**20
"""Largest request: 64 pictures of 384 pixels a side have 28 MB."""
MOST_QUESTIONS = 64
_PATIENCE_S = 30.0
_MOST_CONNECTIONS = 16
_SCHEME = "Bearer "

_Text = Annotated[str, StringConstraints(max_length=200_000)]
_Texts = Annotated[list[_Text], Field(min_length=1, max_length=MOST_QUESTIONS)]
_Commands = Annotated[list[Annotated[str, StringConstraints(max_length=500)]], Field(min_length=1, max_length=10_000)]


class _Question(BaseModel):
    """What is asked; the pictures are looked at apart."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: _Texts
    tasks: _Texts
    admissible: Annotated[list[_Commands], Field(max_length=MOST_QUESTIONS)] = Field(default_factory=list)
    opening: Annotated[str, StringConstraints(max_length=100)] = ""


class _Lengths(BaseModel):
    """Prompts of which it is asked whether they can be read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: _Texts
    admissible: Annotated[list[_Commands], Field(max_length=MOST_QUESTIONS)]
    opening: Annotated[str, StringConstraints(max_length=100)] | None


_AskedT = TypeVar("_AskedT", _Question, _Lengths)


class _Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, line: str) -> None:
        self.status, self.line = status, line
        super().__init__(line)


class AgentServer:
    """Serves one agent until it is closed; a context manager.

    Args:
        agent: who answers; it may learn in between, by whoever holds :attr:`lock`.
        picture: edge of the pictures it takes, pixels.
        port: 0 takes a free one.

    Attributes:
        token: what clients send as ``Authorization: Bearer …``.
        lock: held while the agent answers.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, agent: GameAgent, picture: int, port: int = 0) -> None:
        self.agent, self.picture = agent, picture
        self.token = secrets.token_urlsafe(32)
        self.lock = threading.Lock()
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            raise UserError(f"cannot listen on {HOST}, port {port} ({error.strerror})", "choose another port") from None
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="agent", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 32
    owner: AgentServer

    def __init__(self, *args: Any) -> None:
        self.places = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, where there is room for one more."""
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, then make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_S
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""

    def version_string(self) -> str:
        """Tell nothing of versions."""
        return "agent"

    def do_GET(self) -> None:
        """``/status``."""
        self._answered(self._status)

    def do_POST(self) -> None:
        """``/choose``, ``/write`` and ``/fits``."""
        self._answered(self._fits if self.path == "/fits" else self._asked)

    def _answered(self, answer: Callable[[], dict[str, Any]]) -> None:
        """One reply, whatever happens; after a refusal the connection ends, for its body may still be on the way."""
        try:
            self._check_sender()
            self._send(HTTPStatus.OK, answer())
        except _Refused as refused:
            self.close_connection = True
            self._send(refused.status, {"error": refused.line, "remedy": ""})
        except UserError as error:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": error.what, "remedy": error.remedy})
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.close_connection = True
            line = f"the agent's server failed ({type(error).__name__}); see its messages"
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": line, "remedy": ""})

    def _check_sender(self) -> None:
        """Only this machine's own programs, and only those that were given the token."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not is_local(urlsplit(f"//{hosts[0]}").hostname or ""):
            raise _Refused(HTTPStatus.FORBIDDEN, "reach this server as localhost")
        if self.headers.get_all("Origin"):
            raise _Refused(HTTPStatus.FORBIDDEN, "not for pages")
        given = self.headers.get_all("Authorization") or []
        if len(given) != 1 or not given[0].startswith(_SCHEME):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "send Authorization: Bearer <token>")
        if not hmac.compare_digest(given[0].removeprefix(_SCHEME).encode(), self.server.owner.token.encode()):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "the token is wrong")

    def _status(self) -> dict[str, Any]:
        if self.path != "/status":
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        owner = self.server.owner
        with owner.lock:
            return {"policy_id": owner.agent.policy_id, "picture": owner.picture}

    def _asked(self) -> dict[str, Any]:
        if self.path not in ("/choose", "/write"):
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        question, pictures = _read_question(self._body(), self.server.owner.picture)
        owner, kind = self.server.owner, self.path[1:]
        with owner.lock:
            answers = _ask(owner.agent, "choose" if kind == "choose" else "write", question, pictures)
        return {
            "answers": [
                {
                    "text": answer.text,
                    "action": answer.action,
                    "logprob": float(answer.logprob),
                    "latency_ms": float(answer.latency_ms),
                }
                for answer in answers
            ]
        }

    def _fits(self) -> dict[str, Any]:
        asked, owner = _checked(_Lengths, _read_map(self._body())), self.server.owner
        _check_commands(asked.prompts, asked.admissible)
        with owner.lock:
            return {"fits": [bool(fits) for fits in owner.agent.fits(asked.prompts, asked.admissible, asked.opening)]}

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or not lengths[0].isdecimal() or self.headers.get("Transfer-Encoding"):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "say the body's length")
        if len(lengths[0]) > 12 or int(lengths[0]) > BODY_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES} bytes are read")
        body = self.rfile.read(int(lengths[0]))
        if len(body) != int(lengths[0]):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body is cut off")
        return body

    def _send(self, status: HTTPStatus, message: dict[str, Any]) -> None:
        body = pack(message)
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _read_map(body: bytes) -> dict[Any, Any]:
    """Raises _Refused where it is none."""
    try:
        message = unpack(body, limit=BODY_BYTES)
    except CodecError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, error.what) from None
    if not isinstance(message, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body is no map")
    return message


def _checked(kind: type[_AskedT], message: dict[Any, Any]) -> _AskedT:
    """Raises _Refused where a field is not as it should be."""
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise _Refused(HTTPStatus.BAD_REQUEST, f"field '{place}': {first['msg']}") from None


def _check_commands(prompts: Sequence[str], admissible: Sequence[Sequence[str]]) -> None:
    if len(admissible) != len(prompts):
        raise _Refused(HTTPStatus.BAD_REQUEST, "every prompt needs its admissible commands")


def _read_question(body: bytes, picture: int) -> tuple[_Question, NDArray[np.uint8]]:
    """Raises _Refused where it is no question."""
    message = _read_map(body)
    pictures = message.pop("pictures", None)
    question = _checked(_Question, message)
    count = len(question.prompts)
    if len(question.tasks) != count:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{count} prompts came with {len(question.tasks)} tasks")
    if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
        raise _Refused(HTTPStatus.BAD_REQUEST, "'pictures' must be an array of uint8")
    if pictures.shape != (count, picture, picture, 3):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"'pictures' must have the shape {(count, picture, picture, 3)}")
    return question, pictures


def _ask(
    agent: GameAgent, kind: Literal["choose", "write"], question: _Question, pictures: NDArray[np.uint8]
) -> list[AgentAnswer]:
    if kind == "write":
        return list(agent.write(question.prompts, question.tasks, pictures, question.opening))
    _check_commands(question.prompts, question.admissible)
    return list(agent.choose(question.prompts, question.tasks, pictures, question.admissible))
