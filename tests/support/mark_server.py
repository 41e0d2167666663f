"""A real server of the page of marks in a process of its own, and people who ask it over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.server_process import ServerProcess, running

_keys = itertools.count()


class MarkServer(ServerProcess):
    """``flywheel mark-progress`` as somebody would start it.

    Args:
        home: the store's root.
        dataset: what is marked.
        options: further words of the command line.
        port: where it listens; 0 takes a free one.
    """

    log_name = "marks"
    start_within_s = 120.0

    def __init__(self, home: Path, dataset: Path, *options: str, port: int = 0) -> None:
        super().__init__(home, ["mark-progress", str(dataset), "--port", str(port), *options], None, page=True)

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"marks +(https?://[^\s/]+)/marks(?:#(\S+))?", said)
        if address is None:
            return False
        self.url, self.invitation = address[1], address[2] or self.invitation
        return True

    @property
    def link(self) -> str:
        """Lets people in."""
        return f"{self.url}/marks#{self.invitation}"

    def join(self, name: str) -> Marker:
        """Come in by the invitation."""
        answer = httpx.post(f"{self.url}/api/marks/join", json={"token": self.invitation, "name": name}, timeout=30)
        assert answer.status_code == 200, answer.text
        return Marker(self, answer.json()["token"], answer.json()["id"])


@contextlib.contextmanager
def mark_server(home: Path, dataset: Path, *options: str, **keywords: Any) -> Iterator[MarkServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    with running(MarkServer(home, dataset, *options, **keywords)) as server:
        yield server


@dataclass
class Marker:
    """One person's browser.

    Attributes:
        server: where it asks.
        token: what it shows.
        id: the person's.
    """

    server: MarkServer
    token: str
    id: str

    def ask(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """A request below ``/api/marks/``."""
        headers = {"authorization": f"Bearer {self.token}", **keywords.pop("headers", {})}
        return httpx.request(method, f"{self.server.url}/api/marks/{path}", headers=headers, timeout=60, **keywords)

    def episodes(self) -> list[dict[str, Any]]:
        """The list, in its order."""
        answer = self.ask("GET", "episodes")
        assert answer.status_code == 200, answer.text
        episodes: list[dict[str, Any]] = answer.json()["episodes"]
        return episodes

    def say(
        self, episode: str, *marks: tuple[int, int], seen: int = 0, key: str = "", done: bool = True
    ) -> httpx.Response:
        """Mark an episode: (frame, stage), a stage lost where negative."""
        body = {
            "key": key or f"key-{os.getpid()}-{next(_keys):06d}",
            "episode": episode,
            "marks": [{"frame": frame, "stage": abs(stage), "lost": stage < 0} for frame, stage in marks],
            "done": done,
            "seconds": 2.5,
            "seen": seen,
        }
        return self.ask("POST", "labels", json=body)
