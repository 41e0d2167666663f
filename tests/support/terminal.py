"""A program at a pseudo-terminal: typed at, watched, left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


class Terminal:
    """A program with a terminal of its own.

    Args:
        words: the program.
        environment: beside this process's.
        rows: of the terminal.
        columns: of the terminal.
    """

    def __init__(
        self, words: list[str], *, environment: dict[str, str] | None = None, rows: int = 40, columns: int = 120
    ) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.settings_before: list[Any] = termios.tcgetattr(self.slave)
        # With a controlling terminal, so that Ctrl+C typed here is the signal it is at a desk.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
        )
        self._raw = b""
        self._seen = 0

    def type(self, keys: str) -> None:
        """Type; what is waited for from now on must come after this."""
        self._read(0)
        self._seen = len(self.text)
        os.write(self.master, keys.encode())

    @property
    def text(self) -> str:
        """Everything that was shown, without the escapes."""
        return _ESCAPES.sub("", self._raw.decode("utf-8", "replace"))

    @property
    def fresh(self) -> str:
        """What was shown since the last key, or the last thing waited for."""
        return self.text[self._seen :]

    def wait_for(self, pattern: str, *, within_s: float = 20.0) -> re.Match[str]:
        """Wait until what a regular expression describes is shown; afterwards only what follows counts."""
        deadline = time.monotonic() + within_s
        while True:
            found = re.search(pattern, self.fresh)
            if found:
                self._seen += found.end()
                return found
            if self.process.poll() is not None:
                self._read(0.2)
                found = re.search(pattern, self.fresh)
                if found:
                    self._seen += found.end()
                    return found
                raise AssertionError(f"the program has ended; /{pattern}/ was not shown:\n{self.text[-4000:]}")
            assert time.monotonic() < deadline, f"/{pattern}/ was not shown:\n{self.text[-4000:]}"
            self._read(0.05)

    def _read(self, seconds: float) -> None:
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self._raw += data
            seconds = 0

    def wait(self, within_s: float = 20.0) -> int:
        """Wait for the end; returns the exit code."""
        deadline = time.monotonic() + within_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"the program goes on:\n{self.text[-4000:]}"
            self._read(0.02)
        self._read(0)
        return self.process.wait()

    def close(self) -> None:
        """Kill what is left."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        os.close(self.master)
        os.close(self.slave)


@contextlib.contextmanager
def station_terminal(config: Path, *arguments: str) -> Iterator[Terminal]:
    """The station client at a terminal, for the length of a block."""
    terminal = Terminal([sys.executable, "-m", "robot_client", "--config", str(config), *arguments])
    try:
        yield terminal
    finally:
        terminal.close()
