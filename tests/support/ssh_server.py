"""An SSH server of the test's own: sshd as an ordinary process on a free port, with keys made for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.free_port import free_port

HOST = "robots-server"
"""What clients call it."""
_SSHD_PLACES = "/usr/sbin:/usr/local/sbin:/sbin"
_SEPARATION = Path("/run/sshd")


class SshServer:
    """sshd, and an ``ssh`` that finds it.

    Args:
        folder: where its keys and settings go.
        sshd: the program.
        ssh: the client's program.
    """

    def __init__(self, folder: Path, sshd: str, ssh: str) -> None:
        self.programs = folder / "bin"
        """To be put first on a client's PATH."""
        self._sshd = sshd
        self._port = free_port()
        self._settings = folder / "sshd_config"
        self._log = folder / "sshd.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.programs.mkdir(parents=True)
        for name in ("host", "client"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, timeout=30
            )
        (folder / "known").write_text(f"[127.0.0.1]:{self._port} {(folder / 'host.pub').read_text()}")
        self._settings.write_text(
            f"Port {self._port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'client.pub'}\nStrictModes no\nPasswordAuthentication no\n"
        )
        client = folder / "ssh_config"
        client.write_text(
            f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self._port}\n  User {pwd.getpwuid(os.getuid()).pw_name}\n"
            f"  IdentityFile {folder / 'client'}\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known'}\n"
            "  StrictHostKeyChecking yes\n"
        )
        # ssh looks for its settings where the system says home is, whatever HOME says.
        program(self.programs / "ssh", f"{ssh} -F {client}")

    def start(self) -> None:
        """Start it, and wait until somebody can log in; skips the test where nobody can."""
        if os.getuid() == 0 and not _SEPARATION.exists():
            _SEPARATION.mkdir(mode=0o755)  # as the system's own service does at its start
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", str(self._settings)], stdout=output, stderr=output
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                break
            time.sleep(0.02)
        login = [str(self.programs / "ssh"), "-o", "BatchMode=yes", HOST, "true"]
        done = subprocess.run(login, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            self.kill()
            pytest.skip(f"nobody can log in to an sshd of one's own here: {done.stderr.strip()[-300:]}")

    def kill(self) -> None:
        """Kill it, and whatever it does for its clients."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(self._process.pid), *self.sessions()]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait(10)

    def sessions(self) -> list[psutil.Process]:
        """What runs for its clients at this moment."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)


def program(path: Path, command: str) -> None:
    """Write a program that is another one with further arguments."""
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """A server for the length of a block; skips the test where there is no sshd."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:{_SSHD_PLACES}")
    ssh = shutil.which("ssh")
    if sshd is None or ssh is None:
        pytest.skip("openssh-server is not installed here")
    server = SshServer(folder, sshd, ssh)
    try:
        server.start()
        yield server
    finally:
        server.kill()
