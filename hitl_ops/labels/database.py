"""The label store's database: opened by URL, set up by migration, used in short transactions."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.orm import Session

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.sqlite_wal import enter_wal
from hitl_ops.labels.database_errors import database_errors_named
from hitl_ops.labels.errors import UnknownRecord
from hitl_ops.labels.schema import REVISION, Base
from hitl_ops.labels.tokens import is_id

RecordT = TypeVar("RecordT", bound=Base)

VERSION_TABLE = "flywheel_label_store"
"""Holds the revision; a name of its own, because other tools keep theirs in ``alembic_version``."""

# A writer holds its lock for milliseconds; half a minute of waiting means that something is stuck.
LOCK_TIMEOUT_S = 30.0
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_WRITES = "flywheel_writes"

# Advisory locks of PostgreSQL, one number each: "FLYW" and a count.
MIGRATION_LOCK, PLAY_LOCK, LABEL_LOCK = (0x464C5957_00000000 + number for number in (1, 2, 3))


def parse_labels_url(url: str) -> URL:
    """Read a database URL: a SQLite file or a PostgreSQL server.

    Raises:
        UserError: it is neither; the line never repeats the URL, which may hold a password.
    """
    try:
        parsed = make_url(url)
    except (sqlalchemy_errors.ArgumentError, ValueError):
        raise UserError("the labels URL cannot be read", _URL_REMEDY) from None
    if parsed.drivername in _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database.startswith((":memory:", "file:")) or parsed.query:
            raise UserError("the labels URL names no plain SQLite file", _URL_REMEDY)
        return parsed
    raise UserError(f"the labels URL asks for '{parsed.drivername}'", _URL_REMEDY)


_URL_REMEDY = "write sqlite:////folder/labels.db or postgresql://user:password@host/database"


def shown_url(url: URL) -> str:
    """The URL as it may be printed: without password, and without the query, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def utc_now() -> datetime:
    """The moment, with its zone."""
    return datetime.now(UTC)


class LabelDatabase:
    """One engine a process, safe over threads and forks. Connects at first use, not when it is made.

    Args:
        url: ``sqlite:///<file>`` or ``postgresql://…``.
        clock: what time it is; a test may bring its own.

    Raises:
        UserError: the URL is of another kind, or PostgreSQL's driver is missing.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.url = parse_labels_url(url)
        self.now = clock
        self._lock = threading.Lock()
        # SQLite lets one write at a time and makes the others sleep; threads of one process queue here instead.
        self._turn = threading.Lock()
        self._engine: Engine | None = None
        self._process = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown_url(self.url)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file rather than a server."""
        return self.url.drivername == "sqlite"

    def migrate(self) -> None:
        """Bring the database to this code's tables; the first call makes them. Any number of processes may call it.

        Raises:
            UserError: the database belongs to a newer Flywheel, or its tables are not ours.
            LabelStoreUnavailable: it does not answer or cannot be written.
        """
        if self.revision() == REVISION:
            return
        with self._transaction(writes=True) as session:
            connection = session.connection()
            if not self.is_sqlite:
                session.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            # Another process may have been at it while this one waited; then there is nothing left to do.
            _upgrade(connection, shown_url(self.url))

    def revision(self) -> str | None:
        """The newest migration the database has been through; ``None`` before the first."""
        with self._transaction() as session:
            connection = session.connection()
            if not inspect(connection).has_table(VERSION_TABLE):
                return None
            return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose(close=self._process == os.getpid())

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool = False) -> Iterator[Session]:
        """Yield a session inside one transaction; what it wrote is durable when the block has ended.

        Raises:
            LabelStoreUnavailable: the database does not answer, is locked or cannot be written.
            UserError: it has not been set up.
        """
        with database_errors_named(shown_url(self.url)):
            engine = self._opened()
            with contextlib.ExitStack() as stack:
                if writes and self.is_sqlite:
                    stack.enter_context(self._turn)
                bind = engine.execution_options(**{_WRITES: True}) if writes else engine
                session = stack.enter_context(Session(bind, expire_on_commit=False))
                stack.enter_context(session.begin())
                yield session

    def _in_order(self, session: Session, lock: int) -> None:
        """Let transactions that give out numbers run one after the other, so that numbers grow in commit order.

        A reader that has seen number n may then ask for what came after n and misses nothing.
        """
        if not self.is_sqlite:  # there, writing transactions follow one another anyway
            session.execute(select(func.pg_advisory_xact_lock(lock)))

    def _one(self, session: Session, table: type[RecordT], noun: str, record_id: str, *, hold: bool = True) -> RecordT:
        """The row with this id; ``hold`` keeps other writers off it until the transaction ends.

        Raises:
            UnknownRecord: there is none.
        """
        lock = {"key_share": True} if hold else None
        record = session.get(table, record_id, with_for_update=lock) if is_id(record_id) else None
        if record is None:
            raise UnknownRecord(noun, record_id[:40])
        return record

    def _opened(self) -> Engine:
        with self._lock:
            # Connections must not cross a fork: a child opens its own, and leaves the parent's alone.
            if self._engine is not None and self._process != os.getpid():
                self._engine.dispose(close=False)
                self._engine = None
                self._turn = threading.Lock()
            if self._engine is None:
                self._engine = _open_sqlite(self.url) if self.is_sqlite else _open_postgresql(self.url)
                self._process = os.getpid()
            return self._engine


def _open_sqlite(url: URL) -> Engine:
    path = Path(url.database or "").expanduser()
    with disk_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
    engine = create_engine(
        url.set(database=str(path)),
        connect_args={"timeout": LOCK_TIMEOUT_S, "check_same_thread": False},
        pool_size=4,
        max_overflow=28,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        # Transactions are begun below, not by the driver, which would begin them too late.
        connection.isolation_level = None
        enter_wal(connection, LOCK_TIMEOUT_S)
        # FULL: an acknowledged row survives a power cut, not only a kill.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # INSERT OR REPLACE deletes; only with this do the triggers on deletion hear of it.
        connection.execute("PRAGMA recursive_triggers=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then asks for the write lock may be refused; so ask at once.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_private(path: Path) -> None:
    """Make the file: it holds what people told, so it is for its owner alone, and so is what SQLite puts beside it.

    A file that is there is never opened here. SQLite's locks are the process's: closing any descriptor of the file
    drops those of every other connection of this process, and the next process to leave then takes itself for the
    last one and removes the log that these still write to.

    Raises:
        OSError: it cannot be made, or not be written.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _open_postgresql(url: URL) -> Engine:
    try:
        engine = create_engine(
            url,
            connect_args={"connect_timeout": 10, "application_name": "flywheel"},
            pool_size=4,
            max_overflow=28,
            pool_pre_ping=True,
            hide_parameters=True,
        )
    except ModuleNotFoundError:
        raise UserError("the driver for PostgreSQL is missing", "pip install 'psycopg[binary]'") from None

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.execute(f"SET lock_timeout = {int(LOCK_TIMEOUT_S * 1000)}")
        connection.commit()

    return engine


def _upgrade(connection: Connection, name: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise UserError(f"labels database {name} was made by a newer Flywheel", "use that one, or newer") from None
