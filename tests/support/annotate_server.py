"""A real annotation server in a process of its own, and annotators who ask it over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.server_process import ServerProcess, running

_keys = itertools.count()


class AnnotateServer(ServerProcess):
    """``flywheel annotate`` as somebody would start it.

    Args:
        home: the store's root.
        options: further words of the command line.
        settings: further ``--set`` values, below ``annotation`` where they name no other section.
        page: serve the built page too.
    """

    log_name = "annotate"
    start_within_s = 120.0

    def __init__(self, home: Path, *options: str, settings: dict[str, Any] | None = None, page: bool = False) -> None:
        super().__init__(home, ["annotate", "--port", "0", *options], settings, page=page)

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"annotate +(https?://[^\s/]+)/annotate(?:#(\S+))?", said)
        if address is None:
            return False
        self.url, self.invitation = address[1], address[2] or self.invitation
        return True

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
    with running(AnnotateServer(home, *options, **keywords)) as server:
        yield server


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
