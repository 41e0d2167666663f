"""The database under the label store: opened, set up, in the way, out of reach."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, inspect, make_url, text

import hitl_ops.labels.database as database
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store
from hitl_ops.labels.database import VERSION_TABLE, parse_labels_url
from hitl_ops.labels.errors import LabelStoreUnavailable
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.schema import REVISION, Base
from tests.support.label_writers import go
from tests.support.postgres import PASSWORD, PostgresServer

MIGRATIONS = Path(database.__file__).parent / "migrations"


def plain_engine(url: str) -> Engine:
    """The database without anything of ours around it."""
    return create_engine(parse_labels_url(url))


def shape(engine: Engine) -> dict[str, Any]:
    """Everything the database says about our tables."""
    seen = inspect(engine)

    def by_name(rows: list[Any]) -> list[str]:
        return sorted(repr(sorted(row.items(), key=str)) for row in rows)

    def conditions(index: Any) -> dict[str, str]:
        return {name: str(option) for name, option in index["dialect_options"].items()}

    return {
        table: {
            "columns": [(row["name"], str(row["type"]), row["nullable"]) for row in seen.get_columns(table)],
            "primary key": seen.get_pk_constraint(table),
            "foreign keys": by_name(seen.get_foreign_keys(table)),
            "unique": by_name(seen.get_unique_constraints(table)),
            "checks": by_name(seen.get_check_constraints(table)),
            "indexes": by_name([{**row, "dialect_options": conditions(row)} for row in seen.get_indexes(table)]),
        }
        for table in Base.metadata.tables
    }


def differences(engine: Engine, metadata: MetaData) -> list[Any]:
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "version_table": VERSION_TABLE}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def test_migrations_make_what_the_models_say(store: LabelStore, labels_url: str) -> None:
    engine = plain_engine(labels_url)
    assert differences(engine, Base.metadata) == []
    more = MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(more)
    Table("labels", more, Column("forgotten", Integer()), extend_existing=True)
    assert [difference[0] for difference in differences(engine, more)] == ["add_column"]


def test_only_who_writes_makes_the_database(labels_url: str) -> None:
    before = LabelStore.open_existing(labels_url)
    assert (before is None) == labels_url.startswith("sqlite"), "a server may always hold one"
    if before is None:
        assert not Path(make_url(labels_url).database or "").parent.exists()
    else:
        assert before.revision() is None
        before.close()
    LabelStore.open(labels_url).close()
    found = LabelStore.open_existing(labels_url)
    assert found is not None and found.labels() == []
    found.close()


def test_migrations_make_every_constraint_the_models_name(
    store: LabelStore, labels_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if store.is_sqlite:
        other = f"sqlite:///{tmp_path / 'models.db'}"
    else:
        other = request.getfixturevalue("postgres_server").new_database()
    from_models = plain_engine(other)
    Base.metadata.create_all(from_models)
    made, wanted = shape(plain_engine(labels_url)), shape(from_models)
    assert made == wanted
    assert len(wanted["labels"]["checks"]) == 3
    assert any("finished_at IS NULL" in index for index in wanted["episode_plays"]["indexes"])


def test_newest_migration_is_the_one_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_migrating_again_changes_nothing(store: LabelStore, labels_url: str) -> None:
    _, token = store.create_invitation("planner", 0)
    LabelStore.open(labels_url).migrate()
    assert store.revision() == REVISION
    assert store.use_invitation(token).session.stage == "consent"


@pytest.mark.slow
def test_many_may_set_it_up_at_once(labels_url: str, start_writer: Callable[..., Popen[str]]) -> None:
    others = [start_writer("migrate") for _ in range(2)]
    go(*others)
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: LabelStore.open(labels_url), range(4)))
    assert {store.revision() for store in stores} == {REVISION}
    assert [other.communicate(timeout=120)[0] for other in others] == [f"{REVISION}\n"] * 2
    assert [other.returncode for other in others] == [0, 0]
    for store in stores:
        store.close()


def test_newer_database_is_left_alone(store: LabelStore, labels_url: str) -> None:
    with plain_engine(labels_url).begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer Flywheel"):
        store.migrate()
    assert store.revision() == "9999"


def test_store_that_was_not_set_up_says_so(labels_url: str) -> None:
    store = LabelStore(labels_url)
    assert store.revision() is None
    with pytest.raises(UserError, match="has not been set up"):
        store.overview()


def test_tables_of_something_else_are_not_touched(labels_url: str) -> None:
    store = LabelStore(labels_url)
    assert store.revision() is None
    with plain_engine(labels_url).begin() as connection:
        connection.execute(text("CREATE TABLE labels (other INTEGER)"))
    with pytest.raises(UserError, match="tables of something else"):
        store.migrate()
    # All or nothing: what was made before the clash is gone again.
    assert set(inspect(plain_engine(labels_url)).get_table_names()) == {"labels"}


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///labels.db?mode=ro",
        "mysql://someone:hunter2@host/labels",
        "postgresql+asyncpg://someone:hunter2@host/labels",
        "hunter2 is no URL",
        "postgresql://someone:hunter2@host:port/labels",
        "",
    ],
)
def test_other_urls_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UserError) as caught:
        LabelStore(url)
    assert "hunter2" not in str(caught.value) + repr(caught.value.__context__ if caught.value.__cause__ else "")


def test_password_is_never_shown(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    right = postgres_server.new_database()
    LabelStore.open(right).close()
    wrong = make_url(right).set(password="wr0ng-secret").render_as_string(hide_password=False)
    in_query = make_url(right).set(password=None).update_query_dict({"password": "wr0ng-secret"})
    shown = repr(LabelStore(right))
    for url in (wrong, in_query.render_as_string(hide_password=False)):
        store = LabelStore(url)
        with pytest.raises(LabelStoreUnavailable, match="does not answer") as caught:
            store.overview()
        shown += repr(store) + str(caught.value)
    captured = capfd.readouterr()
    everything = shown + caplog.text + captured.out + captured.err
    assert "flywheel:***@" in everything
    assert "wr0ng-secret" not in everything
    assert PASSWORD not in everything
    assert str(make_url(right).render_as_string(hide_password=False)) not in everything


def test_server_out_of_reach_says_so(tmp_path: Path) -> None:
    store = LabelStore(f"postgresql://someone@/labels?host={tmp_path}")
    with pytest.raises(LabelStoreUnavailable, match="does not answer"):
        store.migrate()


def test_lost_connections_are_made_anew(postgres_server: PostgresServer) -> None:
    store = LabelStore.open(postgres_server.new_database())
    _, token = store.create_invitation("planner", 0)
    postgres_server.execute(
        "postgres",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{store.url.database}'",
    )
    assert store.use_invitation(token).session.program == "planner"
    store.close()


def test_sqlite_file_is_durable_strict_and_private(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "labels.db"
    store = LabelStore.open(f"sqlite:///{file}")
    store.create_invitation("planner", 0)
    with store._transaction(writes=True) as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 30_000,
    }
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(("labels.db", "labels.db-wal", "labels.db-shm"), 0o600)
    store.close()


@pytest.mark.slow
def test_a_process_may_open_the_file_twice_while_others_come_and_go(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    script = (
        "import sys; from hitl_ops.labels.label_store import LabelStore; store = LabelStore.open(sys.argv[1]);"
        " store.create_invitation('planner', 0); print(len(store.invitations())); store.close()"
    )

    def another_process() -> int:
        done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=True)
        return int(done.stdout)

    first = LabelStore.open(url)
    first.create_invitation("planner", 0)
    second = LabelStore.open(url)
    # It leaves last but two, and must not take itself for the last.
    assert another_process() == 2
    first.create_invitation("planner", 0)
    assert another_process() == 4
    assert len(first.invitations()) == len(second.invitations()) == 4
    first.close()
    second.close()
    assert another_process() == 5


def test_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    file = tmp_path / "labels.db"
    store = LabelStore.open(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LabelStoreUnavailable, match="stays locked"):
        store.create_invitation("planner", 0)
    assert store.invitations() == []  # reading goes on
    other.execute("ROLLBACK")
    store.create_invitation("planner", 0)
    other.close()
    store.close()


def test_full_disk_loses_nothing_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "labels.db"
    store = LabelStore.open(f"sqlite:///{file}")
    kept, _ = store.create_invitation("planner", 0)
    with store._transaction() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))

    def fill() -> None:
        for number in range(2000):
            store.add_label(
                "verdict", program="planner", iteration=0, annotator="a", client_key=str(number),
                value={"text": "x" * 4000}, target="t",
            )  # fmt: skip

    with pytest.raises(LabelStoreUnavailable, match="free space"):
        fill()
    assert store.invitations() == [kept]
    store.close()


def test_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.db"
    file.write_bytes(b"this is no database, but long enough to be looked at" * 100)
    with pytest.raises(UserError, match="is damaged"):
        LabelStore.open(f"sqlite:///{file}")


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    with pytest.raises(UserError, match="in the way"):
        LabelStore.open(f"sqlite:///{tmp_path / 'in-the-way' / 'labels.db'}")


@pytest.mark.slow
def test_fork_leaves_the_parents_connections_alone(store: LabelStore, start_writer: Callable[..., Popen[str]]) -> None:
    writer = start_writer("fork")
    go(writer)
    assert writer.communicate(timeout=120)[0] == "0\n"
    said = [(label.annotator, label.client_key) for label in store.labels(superseded=True)]
    assert sorted(said) == sorted(
        [("before", "key-0"), *((name, f"key-{number}") for name in ("child", "parent") for number in range(20))]
    )


def test_labels_url_comes_from_the_store_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLYWHEEL_LABELS_URL", raising=False)
    assert Store.at(tmp_path).labels_url == f"sqlite:///{tmp_path / 'labels.db'}"
    monkeypatch.setenv("FLYWHEEL_LABELS_URL", "postgresql://host/labels")
    assert Store.at(tmp_path).labels_url == "postgresql://host/labels"
