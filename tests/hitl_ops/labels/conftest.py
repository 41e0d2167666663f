"""Each test of the label store runs on both engines, each time in a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.rows import SessionRow
from tests.support.postgres import postgres_server

__all__ = ["postgres_server"]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **span: float) -> datetime:
        """Let time pass."""
        self.moment += timedelta(**span)
        return self.moment


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def labels_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'labels.db'}"
    return request.getfixturevalue("postgres_server").new_database()


@pytest.fixture
def clock() -> Clock:
    """The store's clock."""
    return Clock()


@pytest.fixture
def store(labels_url: str, clock: Clock) -> Iterator[LabelStore]:
    """A store with all its tables."""
    opened = LabelStore.open(labels_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def admit(store: LabelStore) -> Callable[..., SessionRow]:
    """Let somebody in; their session."""

    def one(program: str = "planner", iteration: int = 1) -> SessionRow:
        _, token = store.create_invitation(program, iteration)
        return store.use_invitation(token).session

    return one


WriterStart = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_writer(labels_url: str, source_root: Path) -> Iterator[WriterStart]:
    """Start ``tests/support/label_writer.py`` on the database; it waits until it is told to go."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "FLYWHEEL_LABELS_URL": labels_url, "PYTHONPATH": str(source_root)}
        process = subprocess.Popen(
            [sys.executable, source_root / "tests" / "support" / "label_writer.py", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
