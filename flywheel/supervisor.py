"""Several processes as one: started together, their output told apart by a prefix, ended together, none left.

Procfile runners end their processes with SIGTERM and a few seconds; ``dagster dev`` wants SIGINT and, with runs to
cancel, half a minute, or it leaves children behind. Hence this one.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hitl_ops.contracts.errors import UserError

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$")
_POLL_S = 0.1


def read_procfile(path: Path) -> dict[str, str]:
    """The commands of a Procfile by name, in its order.

    Raises:
        UserError: the file is missing or a line is not ``name: command``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror})", "restore it from the repository") from None
    commands: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise UserError(f"'{path}', line {number} is not 'name: command'", "mend the line")
        commands[match.group(1)] = match.group(2)
    return commands


@dataclass
class Supervisor:
    """Runs commands until one ends or :meth:`stop` is called.

    Args:
        say: takes a process's name and a line it printed.
        patience_s: seconds between the polite SIGINT and SIGKILL.
    """

    say: Callable[[str, str], None]
    patience_s: float = 40.0
    _processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    _readers: list[threading.Thread] = field(default_factory=list)

    def start(self, name: str, command: str, *, environment: Mapping[str, str], folder: Path) -> None:
        """Start ``command`` in a shell and a process group of its own, and pass on what it prints."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._processes[name] = process
        reader = threading.Thread(target=self._pass_on, args=(name, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _pass_on(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.say(name, line.rstrip("\n"))

    def ended(self) -> tuple[str, int] | None:
        """Name and exit code of a process that is no longer running, None while all are."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                return name, code
        return None

    def wait(self) -> tuple[str, int]:
        """Wait until one process ends by itself; returns its name and exit code."""
        while (first := self.ended()) is None:
            time.sleep(_POLL_S)
        return first

    def stop(self) -> None:
        """End every process and all it started: SIGINT to its group, patience, then SIGKILL.

        A second Ctrl+C ends the patience.
        """
        self._signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):
            deadline = time.monotonic() + self.patience_s
            while time.monotonic() < deadline and any(_alive(process) for process in self._processes.values()):
                time.sleep(_POLL_S)
        self._signal(signal.SIGKILL)
        for process in self._processes.values():
            process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)


def _alive(process: subprocess.Popen[str]) -> bool:
    """Whether anything of the process's group still runs; the process itself is reaped on the way."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group that holds only zombies
        return process.returncode is None
    return True
