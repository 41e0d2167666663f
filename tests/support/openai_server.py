"""A real HTTP server on localhost that speaks OpenAI's chat-completions API and can misbehave on demand.

``OpenAIServer(brain)`` answers with ``brain(messages)``; what is put in ``script`` is used up first, one entry a
request. It keeps every request it got and how many it was working on at once.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Brain = Callable[[list[dict[str, str]]], str]


@dataclass
class Say:
    """A completion with this content; ``None`` = null content. ``usage=False`` leaves the token counts out."""

    content: str | None
    usage: bool = True
    finish_reason: str = "stop"


@dataclass
class Status:
    """An error status with OpenAI's error body."""

    code: int
    message: str = "scripted"
    error_code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Raw:
    """A 200 with this body, whatever it is."""

    body: str
    content_type: str = "application/json"


@dataclass
class Drop:
    """Cut the connection; ``midway`` after half of the body, else before anything is sent."""

    midway: bool = True


@dataclass
class Slow:
    """Answer only after so many seconds."""

    seconds: float
    content: str = "Wait[]"


Behaviour = Say | Status | Raw | Drop | Slow


@dataclass
class Received:
    """A request as the server got it."""

    at: float
    payload: dict[str, Any]
    headers: dict[str, str]

    @property
    def messages(self) -> list[dict[str, str]]:
        return self.payload["messages"]


class OpenAIServer:
    """Serves ``/v1/chat/completions`` and ``/v1/models`` until closed; a context manager.

    Args:
        brain: messages → reply; cut at the first stop sequence, as real servers do.
        script: behaviours used up before the brain is asked.
        model: the only model served; any other name is a 404.
        api_key: the only key accepted; None accepts all.
        delay_s: how long each answer takes, so that requests overlap.
        port: 0 = any free one.
    """

    def __init__(
        self,
        brain: Brain = lambda messages: "Thought: nothing to do.\nWait[]\nAssigned!",
        *,
        script: list[Behaviour] | None = None,
        model: str = "test-model",
        api_key: str | None = None,
        delay_s: float = 0.0,
        port: int = 0,
    ) -> None:
        self.brain = brain
        self.script: list[Behaviour] = list(script or [])
        self.model = model
        self.api_key = api_key
        self.delay_s = delay_s
        self.received: list[Received] = []
        self.peak = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_behaviour(self, received: Received) -> Behaviour | None:
        with self._lock:
            self.received.append(received)
            return self.script.pop(0) if self.script else None

    def enter(self) -> None:
        with self._lock:
            self._busy += 1
            self.peak = max(self.peak, self._busy)

    def leave(self) -> None:
        with self._lock:
            self._busy -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: OpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up while a slow answer is under way are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            row = {"id": self.server.owner.model, "object": "model", "created": 0, "owned_by": "tests"}
            self._send(200, json.dumps({"object": "list", "data": [row]}))
        else:
            self._error(Status(404, f"no such path: {self.path}"))

    def do_POST(self) -> None:
        owner = self.server.owner
        owner.enter()
        try:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received = Received(time.monotonic(), payload, {k.lower(): v for k, v in self.headers.items()})
            behaviour = owner.next_behaviour(received)
            time.sleep(owner.delay_s)
            if self.path != "/v1/chat/completions":
                self._error(Status(404, f"no such path: {self.path}"))
            elif owner.api_key is not None and received.headers.get("authorization") != f"Bearer {owner.api_key}":
                self._error(Status(401, "Incorrect API key provided.", "invalid_api_key"))
            elif payload["model"] != owner.model:
                self._error(Status(404, f"The model `{payload['model']}` does not exist.", "model_not_found"))
            elif behaviour is not None:
                self._behave(behaviour, payload)
            else:
                self._complete(Say(owner.brain(payload["messages"])), payload)
        finally:
            owner.leave()

    def _behave(self, behaviour: Behaviour, payload: dict[str, Any]) -> None:
        match behaviour:
            case Say():
                self._complete(behaviour, payload)
            case Status():
                self._error(behaviour)
            case Raw():
                self._send(200, behaviour.body, content_type=behaviour.content_type)
            case Slow():
                time.sleep(behaviour.seconds)
                self._complete(Say(behaviour.content), payload)
            case Drop():
                if behaviour.midway:
                    body = self._body(Say("Thought: cut"), payload).encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                # Linger 0: a reset instead of a polite end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

    def _complete(self, say: Say, payload: dict[str, Any]) -> None:
        self._send(200, self._body(say, payload))

    def _body(self, say: Say, payload: dict[str, Any]) -> str:
        content = say.content
        if content is not None:
            for stop in payload.get("stop") or []:
                content = content.partition(stop)[0]
        body: dict[str, Any] = {
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": payload["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content},
                    "finish_reason": say.finish_reason,
                }
            ],
        }
        if say.usage:
            # A token a word: simple enough for a test to count after.
            prompt = sum(len(message["content"].split()) for message in payload["messages"])
            completion = len((content or "").split())
            body["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        return json.dumps(body)

    def _error(self, status: Status) -> None:
        error = {"message": status.message, "type": "error", "code": status.error_code}
        self._send(status.code, json.dumps({"error": error}), headers=status.headers)

    def _send(
        self, code: int, body: str, *, content_type: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        data = body.encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
