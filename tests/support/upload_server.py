"""The upload server: in this process on a free port, or as a process of its own that can be killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from hitl_ops.labels.tokens import hash_token
from ui_collect.access_log import AccessLog
from ui_collect.station.incoming import IncomingEpisodes
from ui_collect.station.server import upload_app

TOKEN = "stations-own-token"


@contextlib.contextmanager
def upload_server(incoming: IncomingEpisodes) -> Iterator[str]:
    """Serve ``incoming`` for the length of a block; yields the address."""
    log = AccessLog(incoming.base.parent / "uploads.jsonl")
    server = uvicorn.Server(
        uvicorn.Config(upload_app(incoming, hash_token(TOKEN), log), log_config=None, lifespan="off")
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        log.close()


class UploadProcess:
    """``flywheel station`` on a port that stays the same when it is started again.

    Args:
        home: the store's root.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.token = ""
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        log = self.home / f"uploads-{time.monotonic_ns()}.txt"
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flywheel", "station", "--root", str(self.home), "--port", str(self.port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + 120
        while "files" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        made = re.search(r"token\s+(\S{20,})", log.read_text())
        self.token = made[1] if made else self.token

    def kill(self) -> None:
        """Kill it where it stands."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
