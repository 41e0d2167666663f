"""A SQLite file that nobody has opened yet, opened by many at once."""

from __future__ import annotations

import threading
from pathlib import Path

from hitl_ops.experts.shared_database import SharedDatabase

ROUNDS, OPENERS = 150, 8


def test_a_new_file_can_be_opened_by_many_at_the_same_moment(tmp_path: Path) -> None:
    """Entering WAL mode is refused without any waiting meanwhile: some three of a hundred such starts failed."""
    errors: list[BaseException] = []
    for number in range(ROUNDS):
        path = tmp_path / str(number) / "answers.sqlite"
        ready = threading.Barrier(OPENERS)

        def use(name: int, path: Path = path, ready: threading.Barrier = ready) -> None:
            shared = SharedDatabase(path, "CREATE TABLE IF NOT EXISTS answers (name)", remedy="delete it")
            ready.wait()
            try:
                with shared.transaction() as connection:
                    connection.execute("INSERT INTO answers VALUES (?)", (name,))
            except BaseException as error:
                errors.append(error)
            finally:
                shared.close()

        openers = [threading.Thread(target=use, args=(name,)) for name in range(OPENERS)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
        shared = SharedDatabase(path, "", remedy="delete it")
        with shared.reading() as connection:
            assert connection.execute("SELECT COUNT(*) FROM answers").fetchone() == (OPENERS,), errors
        shared.close()
    assert errors == []
