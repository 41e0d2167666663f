"""What every test stands on: a store of its own, no network by accident, one thread."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
_LONG = ("integration", "browser")

# Before torch is imported anywhere: two workers with as many threads as cores each would only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A test that would fetch a model by name fails at once instead of waiting for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
# A key in the developer's shell must neither be spent nor make a test pass.
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
# Matplotlib's cache would otherwise be written to the home folder.
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "flywheel-matplotlib"))

# A machine shared by several workers is slow at odd moments: an example may take as long as it takes.
settings.register_profile("flywheel", deadline=None, max_examples=50)
# `make check` asks for this one: a first look, the whole suite looks closer.
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("flywheel")


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test keeps what it writes under a root of its own."""
    home = tmp_path / "flywheel-home"
    monkeypatch.setenv("FLYWHEEL_HOME", str(home))
    yield home


@pytest.fixture(autouse=True)
def nothing_takes_the_machine() -> Iterator[None]:
    """A test that leaves its worker at a real-time priority starves all that come after it, and the machine."""
    yield
    if hasattr(os, "sched_getscheduler"):
        assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the worker was left at a real-time priority"


@pytest.fixture(scope="session")
def source_root() -> Path:
    """The checkout."""
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the long tests first: begun last, they would leave one worker alone at the end."""
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in _LONG)}
    items.sort(key=lambda item: item.path not in long)
