"""A collection server as people start it, ``flywheel collect``, in a process of its own: for benchmarks and tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ui_collect.scripted_people.front_door import split_link

_PLAY = re.compile(r"^\s*play\s+(http\S+#\S+)")
_ADMIN = re.compile(r"^\s*admin token\s+(\S+)")
_LAST_LINE = "Ctrl+C stops"
_START_WITHIN_S = 180.0
_STOP_WITHIN_S = 60.0


class CollectServer:
    """Starts, asks, stops and kills a server.

    Args:
        root: its store.
        options: further words of the command line.
        invite: people its invitation is for.
        port: where it listens; 0 takes a free port, which later starts keep.
    """

    def __init__(self, root: Path, options: Sequence[str] = (), *, invite: int = 1000, port: int = 0) -> None:
        self.root = root
        self.output: list[str] = []
        """What it printed, errors included."""
        self._options = list(options)
        self._invite = invite
        self._port = port
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.url = ""
        self.invitation = ""
        self.admin_token = ""

    @property
    def pid(self) -> int:
        """Process id of the web server."""
        assert self._process is not None
        return self._process.pid

    @property
    def link(self) -> str:
        """The invitation link of the first start."""
        return f"{self.url}/join#{self.invitation}"

    def start(self) -> None:
        """Start it, and wait until it answers; the first start makes the invitation and the admin token.

        Raises:
            RuntimeError: it ended, or did not answer within three minutes.
        """
        words = [sys.executable, "-m", "flywheel", "collect", "--root", str(self.root), "--port", str(self._port)]
        words += ["--without-page", *self._options]
        if not self.invitation:
            words += ["--invite", str(self._invite), "--new-admin-token"]
        announced = threading.Event()
        self._process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process, announced), daemon=True)
        self._reader.start()
        if not announced.wait(_START_WITHIN_S):
            self.kill()
            raise RuntimeError(f"the server did not start:\n{''.join(self.output[-20:])}")
        self._wait_for_answer()

    def _read(self, process: subprocess.Popen[str], announced: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)
            if (play := _PLAY.match(line)) is not None and not self.invitation:
                self.url, self.invitation = split_link(play[1])
                self._port = int(self.url.rsplit(":", 1)[1])
            elif (admin := _ADMIN.match(line)) is not None:
                self.admin_token = admin[1]
            elif _LAST_LINE in line:
                announced.set()
        announced.set()

    def _wait_for_answer(self) -> None:
        until = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            if self._process is None or self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the server does not answer:\n{''.join(self.output[-20:])}")

    def overview(self) -> dict[str, Any]:
        """The dashboard's figures."""
        request = urllib.request.Request(
            f"{self.url}/admin/api/overview", headers={"Authorization": f"Bearer {self.admin_token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            figures: dict[str, Any] = json.load(answer)
        return figures

    def wait_for_partner(self) -> None:
        """Wait until the inference process has loaded its policy.

        Raises:
            RuntimeError: it has not within three minutes.
        """
        until = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < until:
            inference = self.overview()["workers"]["inference"]
            if inference is not None and inference["policy_id"]:
                return
            time.sleep(0.5)
        raise RuntimeError(f"there is no partner:\n{''.join(self.output[-20:])}")

    def memory_mb(self) -> dict[str, float]:
        """Memory each of its processes holds; by name."""
        names = {pid: name for name, pid in self.overview()["workers"]["processes"].items() if pid}
        names[self.pid] = "web server"
        return {name: resident_mb(pid) for pid, name in names.items()}

    def stop(self) -> int:
        """Stop it as Ctrl+C does; returns its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill it without a word."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            code = process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if self._reader is not None:
            # Its children share the pipe; they end with it.
            self._reader.join(_STOP_WITHIN_S)
        return code

    def __enter__(self) -> CollectServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def resident_mb(pid: int) -> float:
    """Memory a process holds now, MB; 0 where it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
