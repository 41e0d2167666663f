"""A registry for tests, made once: MLflow takes seconds to make its database."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from hitl_ops.contracts.store import Store
from hitl_ops.training.mlflow_database import prepare_mlflow_database

_SQLITE = "sqlite:///"


@cache
def _empty() -> Path:
    file = Path(mkdtemp()) / "mlflow.db"
    prepare_mlflow_database(f"{_SQLITE}{file}")
    return file


def with_registry(store: Store) -> Store:
    """The store, with an empty registry in it."""
    target = Path(store.mlflow_uri.removeprefix(_SQLITE))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_empty(), target)
    return store
