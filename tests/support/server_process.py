"""A verb that serves, in a process of its own: started as somebody would start it, stopped, killed, listened to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import httpx

from hitl_ops.labels.label_store import LabelStore


class ServerProcess:
    """A server on a free port.

    Args:
        home: the store's root.
        words: the verb and its options.
        settings: ``--set`` values.
        page: serve the built page too.
    """

    log_name: ClassVar[str]
    start_within_s: ClassVar[float]

    def __init__(self, home: Path, words: list[str], settings: Mapping[str, Any] | None, *, page: bool) -> None:
        self.home = home
        self.url = ""
        self.invitation = ""
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / f"{self.log_name}-{len(list(home.glob(f'{self.log_name}-*.txt')))}.txt"
        self._log.touch()
        self._words = [sys.executable, "-m", "flywheel", *words]
        if not page:
            self._words.append("--without-page")
        for key, value in (settings or {}).items():
            self._words += ["--set", f"{key}={value}"]
        self.process: subprocess.Popen[bytes] | None = None

    def found(self, said: str) -> bool:
        """Take what is needed out of what the server has printed; whether its address was there."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and wait until it answers."""
        environment = {**os.environ, "FLYWHEEL_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        before = self._log.stat().st_size
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._words, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + self.start_within_s
        while time.monotonic() < deadline:
            said = self._log.read_bytes()[before:].decode()
            if self.process.poll() is not None:
                raise AssertionError(f"the server has ended:\n{said}")
            if self.found(said):
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{self.url}/health", timeout=5, verify=False).status_code == 200:
                        return self
            time.sleep(0.02)
        raise AssertionError(f"the server does not answer:\n{self._log.read_text()}")

    def stop(self) -> int:
        """Ask it to stop, as a terminal or a service would; returns its exit code."""
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


ServerT = TypeVar("ServerT", bound=ServerProcess)


@contextlib.contextmanager
def running(server: ServerT) -> Iterator[ServerT]:
    """A server for the length of a block; whatever is left of it is killed at the end."""
    try:
        yield server.start()
        if server.process is not None and server.process.poll() is None:
            assert server.stop() == 0, server.said
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()
