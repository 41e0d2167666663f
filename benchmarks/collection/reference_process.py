"""The reference server in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from hitl_ops.contracts.store import Store
from hitl_ops.rollouts.episode_sets import episode_file

_START_WITHIN_S = 120.0


class ReferenceServer:
    """Starts and ends ``blocking_reference_server``.

    Args:
        store: has the training episodes; sessions are written beside them.
        policy: the partner's.
    """

    def __init__(self, store: Store, policy: Path) -> None:
        self._episodes = episode_file(store.episodes, "train")
        self._policy = policy
        self._out = store.root / "reference"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> ReferenceServer:
        self._out.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        words = [sys.executable, "-m", "benchmarks.collection.blocking_reference_server", "--port", str(port)]
        words += ["--episodes", str(self._episodes), "--policy", str(self._policy), "--out", str(self._out)]
        self._process = subprocess.Popen(words, cwd=Path(__file__).resolve().parents[2])
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until it has worked off what clients left behind and answers again.

        Raises:
            RuntimeError: it does not within two minutes.
        """
        until = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=60):
                return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError("the reference server does not answer")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
