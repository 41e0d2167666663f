"""A real PostgreSQL server for the tests that need one: private, on a Unix socket, gone afterwards.

It is the distribution's own (Debian: ``apt-get install postgresql``). Where it is missing, the tests that need it are
skipped and say so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

USER = "flywheel"
# What a URL has to escape is in it, so that no part of the way there forgets to.
PASSWORD = "s3cret @:/%?#é"
_PORT = 5432  # names the socket's file; nothing listens on the network


@dataclass(frozen=True)
class PostgresServer:
    """A running server.

    Attributes:
        socket_folder: where its socket lies.
        log: what it wrote.
    """

    socket_folder: Path
    log: Path

    def url(self, database: str) -> str:
        """The URL of a database, password included."""
        return URL.create(
            "postgresql", USER, PASSWORD, database=database, query={"host": str(self.socket_folder)}
        ).render_as_string(hide_password=False)

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        name = f"labels_{secrets.token_hex(6)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, database: str, statement: str) -> None:
        """Run one statement by itself."""
        with psycopg.connect(
            host=str(self.socket_folder), user=USER, password=PASSWORD, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)


def postgres_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, the newest version's; ``None`` where there is none."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    found = shutil.which("initdb")
    if found is not None:
        folders.append(Path(found).resolve().parent)
    usable = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return (
        max(usable, key=lambda folder: [int(digits) for digits in folder.parent.name.split(".") if digits.isdigit()])
        if usable
        else None
    )


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Make a database cluster in a folder of its own, start a server on it, stop and remove both."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not pytest's own folder: a socket's path may have no more than 107 characters, and another user has to get there.
    folder = Path(tempfile.mkdtemp(prefix="flywheel-pg-"))
    account = _account(folder)
    try:
        password = folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o644)  # the folder above is closed
        data, log = folder / "data", folder / "log"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
            check=True, capture_output=True, cwd=folder, **account,
        )  # fmt: skip
        with log.open("wb") as sink:
            # Tests kill clients, never the server, so it need not wait for the disk.
            server = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", folder, "-p", str(_PORT), "-c", "listen_addresses=",
                 "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60"],
                stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, cwd=folder, preexec_fn=_end_with_parent, **account,
            )  # fmt: skip
        try:
            _wait_until_ready(binaries, folder, server, log)
            yield PostgresServer(folder, log)
        finally:
            server.send_signal(signal.SIGINT)  # "fast": clients are sent away
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account(folder: Path) -> dict[str, object]:
    """How to start the server as somebody harmless: it refuses to run for root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _end_with_parent() -> None:
    # A killed test run leaves no server behind. 1 is PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _wait_until_ready(binaries: Path, folder: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")
        ready = subprocess.run(
            [binaries / "pg_isready", "-q", "-t", "1", "-h", folder, "-p", str(_PORT)], check=False, cwd=folder
        )
        if ready.returncode == 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(0.1)
    raise RuntimeError(f"PostgreSQL is not ready after a minute:\n{log.read_text(errors='replace')}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a worker; each test makes a database of its own in it."""
    with running_postgres() as server:
        yield server
