"""A real annotation server in a process of its own, and annotators who ask it over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from hitl_ops.labels.label_store import LabelStore

START_WITHIN_S = 120.0
_keys = itertools.count()


class AnnotateServer:
    """``flywheel annotate`` as somebody would start it.

    Args:
        home: the store's root.
        options: further words of the command line.
        settings: further ``--set`` values, below ``annotation`` where they name no other section.
        page: serve the built page too.
    """

    def __init__(self, home: Path, *options: str, settings: dict[str, Any] | None = None, page: bool = False) -> None:
        self.home = home
        self.url = ""
        self.invitation = ""
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / f"annotate-{len(list(home.glob('annotate-*.txt')))}.txt"
        self._log.touch()
        self._words = [sys.executable, "-m", "flywheel", "annotate", "--port", "0", *options]
        if not page:
            self._words.append("--without-page")
        for key, value in (settings or {}).items():
            self._words += ["--set", f"{key}={value}"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> AnnotateServer:
        """Start it and wait until it answers."""
        environment = {**os.environ, "FLYWHEEL_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        before = self._log.stat().st_size
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._words, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            said = self._log.read_bytes()[before:].decode()
            if self.process.poll() is not None:
                raise AssertionError(f"the server has ended:\n{said}")
            if address := re.search(r"annotate +(https?://[^\s/]+)/annotate(?:#(\S+))?", said):
                self.url = address[1]
                self.invitation = address[2] or self.invitation
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                        return self
            time.sleep(0.02)
        raise AssertionError(f"the server does not answer:\n{self._log.read_text()}")

    def stop(self) -> int:
        """Ask it to stop; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill it where it stands."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    @property
    def said(self) -> str:
        """Everything it has printed so far."""
        return self._log.read_text()

    @property
    def labels(self) -> LabelStore:
        """Its label store."""
        return LabelStore(f"sqlite:///{self.home / 'labels.db'}")

    @property
    def film_worker(self) -> psutil.Process | None:
        """The process that makes films; None before the first one was asked for."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if any("film_worker" in word for word in child.cmdline()):
                return child
        return None

    def join(self, name: str) -> AnnotatorClient:
        """Come in by the invitation."""
        answer = httpx.post(f"{self.url}/api/annotate/join", json={"token": self.invitation, "name": name}, timeout=30)
        assert answer.status_code == 200, answer.text
        return AnnotatorClient(self, answer.json()["token"], answer.json()["annotator"])


@contextlib.contextmanager
def annotate_server(home: Path, *options: str, **keywords: Any) -> Iterator[AnnotateServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    server = AnnotateServer(home, *options, **keywords)
    try:
        yield server.start()
        if server.process is not None and server.process.poll() is None:
            assert server.stop() == 0, server.said
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@dataclass
class AnnotatorClient:
    """One annotator's browser.

    Attributes:
        server: where it asks; only the address is used.
        token: what it shows.
        id: the annotator's.
        answers: everything it was answered, newest last.
    """

    server: Any
    token: str
    id: str = ""
    answers: list[httpx.Response] = field(default_factory=list)

    def ask(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """A request below ``/api/annotate/``."""
        headers = {"authorization": f"Bearer {self.token}", **keywords.pop("headers", {})}
        answer = httpx.request(
            method, f"{self.server.url}/api/annotate/{path}", headers=headers, timeout=60, **keywords
        )  # fmt: skip
        self.answers.append(answer)
        return answer

    def get(self, path: str, **keywords: Any) -> Any:
        """What a request that must succeed is answered."""
        answer = self.ask("GET", path, **keywords)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """What a request that must succeed is answered."""
        answer = self.ask("POST", path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def queue(self, **query: Any) -> dict[str, dict[str, Any]]:
        """The queue by play, in its order."""
        return {item["play"]: item for item in self.get("queue", params=query)["items"]}

    def film(self, play_id: str) -> list[bytes]:
        """A film's frames."""
        answer = self.ask("GET", f"plays/{play_id}/film")
        assert answer.status_code == 200, answer.text
        return frames_of(answer.content)

    def mark(self, play_id: str, decision: int, action: str, reason: str = "", **changes: Any) -> dict[str, Any]:
        """Say that a decision was wrong, and what would have been right."""
        answer: dict[str, Any] = self.post("labels", **marking(play_id, decision, action, reason, **changes))
        return answer


def marking(play_id: str, decision: int, action: str, reason: str = "", **changes: Any) -> dict[str, Any]:
    """The body that says it; an empty action takes it back."""
    tool, _, rest = action.removesuffix("]").partition("[")
    body = {
        "key": new_key(),
        "play": play_id,
        "decision": decision,
        "verdict": "error" if action else "withdrawn",
        "tool": tool,
        "args": rest.split(", ") if rest else [],
        "reason": reason,
        "seconds": 4.5,
    }
    return {**body, **changes}


def new_key() -> str:
    """A key nobody has used."""
    return f"key-{os.getpid()}-{next(_keys):06d}"


def frames_of(film: bytes) -> list[bytes]:
    """Cut a film into its frames."""
    frames = []
    at = 0
    while at < len(film):
        (length,) = struct.unpack_from("<I", film, at)
        at += 4
        assert at + length <= len(film), "the film is cut off"
        frames.append(film[at : at + length])
        at += length
    return frames
