"""A real station server in a process of its own, and people who ask its verdict page over real sockets."""

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

from hitl_ops.contracts.station_epoch import EpochFolder
from tests.support.server_process import ServerProcess, running

_keys = itertools.count()


class StationServer(ServerProcess):
    """``flywheel station`` as somebody would start it.

    Args:
        home: the store's root.
        options: further words of the command line.
        settings: ``--set`` values.
        port: where it listens; 0 takes a free one.
    """

    log_name = "station"
    start_within_s = 120.0

    def __init__(self, home: Path, *options: str, settings: dict[str, Any] | None = None, port: int = 0) -> None:
        super().__init__(home, ["station", "--port", str(port), *options], settings, page=True)
        self.token = ""

    def found(self, said: str) -> bool:
        """See :meth:`ServerProcess.found`."""
        address = re.search(r"verdicts +(https?://[^\s/]+)/verdicts(?:#(\S+))?", said)
        if address is None:
            return False
        self.url, self.invitation = address[1], address[2] or self.invitation
        made = re.search(r"token +(\S{20,})", said)
        self.token = made[1] if made else self.token
        return True

    @property
    def link(self) -> str:
        """Lets people in."""
        return f"{self.url}/verdicts#{self.invitation}"

    def join(self, name: str) -> Person:
        """Come in by the invitation."""
        answer = httpx.post(f"{self.url}/api/verdicts/join", json={"token": self.invitation, "name": name}, timeout=30)
        assert answer.status_code == 200, answer.text
        return Person(self, answer.json()["token"], answer.json()["id"])


@contextlib.contextmanager
def station_server(home: Path, *options: str, **keywords: Any) -> Iterator[StationServer]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    with running(StationServer(home, *options, **keywords)) as server:
        yield server


def epoch_folder(home: Path, epoch: int) -> EpochFolder:
    """Where the episodes of an epoch come in."""
    return EpochFolder(home / "station" / "incoming", "lift_lid", epoch)


@dataclass
class Person:
    """One person's browser.

    Attributes:
        server: where it asks.
        token: what it shows.
        id: the person's.
    """

    server: StationServer
    token: str
    id: str

    def ask(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """A request below ``/api/verdicts/``."""
        headers = {"authorization": f"Bearer {self.token}", **keywords.pop("headers", {})}
        return httpx.request(method, f"{self.server.url}/api/verdicts/{path}", headers=headers, timeout=60, **keywords)

    def episodes(self) -> list[dict[str, Any]]:
        """The list, in its order."""
        answer = self.ask("GET", "episodes")
        assert answer.status_code == 200, answer.text
        episodes: list[dict[str, Any]] = answer.json()["episodes"]
        return episodes

    def say(self, episode: str, said: str, *, seen: int = 0, key: str = "", seconds: float = 2.5) -> httpx.Response:
        """Say what an episode is worth."""
        key = key or f"key-{os.getpid()}-{next(_keys):06d}"
        body = {"key": key, "episode": episode, "said": said, "seconds": seconds, "seen": seen}
        return self.ask("POST", "labels", json=body)
