"""A real server of the compare page in a process of its own, and people who ask it over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hitl_ops.contracts.store import Store
from tests.support.server_process import ServerProcess, running

_keys = itertools.count()
_SHOWN = ("iteration", "pair", "left_hash", "right_hash", "repeat")


def clips_of(home: Path, iteration: int = 0, program: str = "preference") -> Path:
    """Where the clip set of an iteration lies."""
    return Store.at(home).iteration(program, iteration).clips


class CompareServer(ServerProcess):
    """``flywheel compare`` as somebody would start it.

    Args:
        home: the store's root.
        options: further words of the command line.
        port: where it listens; 0 takes a free one.
        painted: films are painted in no time, see :mod:`tests.support.painted_clips`; otherwise worlds are filmed.
        settings: ``--set`` values.
    """

    log_name = "compare"
    start_within_s = 120.0

    def __init__(
        self,
        home: Path,
        *options: str,
        port: int = 0,
        painted: bool = True,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(home, ["compare", "--port", str(port), *options], settings, page=True)
        if painted:
            self._words = [sys.executable, "-m", "tests.support.compare_process", *self._words[3:]]

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"compare +(https?://[^\s/]+)/compare(?:#(\S+))?", said)
        if address is None:
            return False
        self.url, self.invitation = address[1], address[2] or self.invitation
        return True

    @property
    def link(self) -> str:
        """Lets people in."""
        return f"{self.url}/compare#{self.invitation}"

    def join(self, name: str) -> Comparer:
        """Come in by the invitation."""
        answer = httpx.post(f"{self.url}/api/compare/join", json={"token": self.invitation, "name": name}, timeout=30)
        assert answer.status_code == 200, answer.text
        return Comparer(self, answer.json()["token"], answer.json()["id"])


@contextlib.contextmanager
def compare_server(home: Path, *options: str, **keywords: Any) -> Iterator[CompareServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    with running(CompareServer(home, *options, **keywords)) as server:
        yield server


@dataclass
class Comparer:
    """One person's browser.

    Attributes:
        server: where it asks.
        token: what it shows.
        id: the person's.
        held: the questions in front of them.
    """

    server: CompareServer
    token: str
    id: str
    held: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # One connection, as a browser has: a new one for every request takes longer than the request.
        self._client = httpx.Client(timeout=60, verify=False)

    def ask(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """A request below ``/api/compare/``."""
        headers = {"authorization": f"Bearer {self.token}", **keywords.pop("headers", {})}
        return self._client.request(method, f"{self.server.url}/api/compare/{path}", headers=headers, **keywords)

    def look(self, count: int = 1, seconds: float = 0.0) -> dict[str, Any]:
        """What the page hears when it wants further questions; they are held from then on."""
        held = [{name: one[name] for name in _SHOWN} for one in self.held]
        answer = self.ask("POST", "questions", json={"held": held, "count": count, "seconds": seconds})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        self.held = [one for one in self.held if {name: one[name] for name in _SHOWN} not in told["gone"]]
        self.held += told["questions"]
        return told

    def next(self) -> dict[str, Any]:
        """The first question in front of them, asked for where there is none."""
        if not self.held:
            self.look()
        return self.held[0]

    def say(self, question: Mapping[str, Any], choice: str | None, *, key: str = "", **changed: Any) -> httpx.Response:
        """Say something of a question."""
        body = {name: question[name] for name in _SHOWN} | {"choice": choice, "seconds": 2.5}
        body["key"] = key or f"key-{os.getpid()}-{next(_keys):06d}"
        answer = self.ask("POST", "labels", json=body | changed)
        if answer.status_code == 200 and choice is not None:
            self.held = [one for one in self.held if one["pair"] != question["pair"]]
        return answer

    def film(self, stamp: str, what: str = "video") -> httpx.Response:
        """A film or its sheet, once it is made."""
        deadline = time.monotonic() + 60
        while True:
            answer = self.ask("GET", f"films/{stamp}/{what}")
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)
