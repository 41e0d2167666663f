"""SQLite files that several processes open at once."""

from __future__ import annotations

import sqlite3
import time

_PAUSE_S = 0.02


def enter_wal(connection: sqlite3.Connection, within_s: float) -> None:
    """Put a file into WAL mode (https://sqlite.org/wal.html).

    It is the one statement that is refused at once, whatever the connection's timeout, while another process opens the
    same new file.

    Args:
        connection: to the file.
        within_s: seconds to go on trying.

    Raises:
        sqlite3.OperationalError: the file stays locked; or whatever else SQLite says.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
