"""MLflow's database, made whole or not at all.

MLflow makes its SQLite file step by step, one migration after the other. A process killed in the middle would leave a
file that is neither new nor old, which MLflow refuses ever after; so it is made aside and renamed into place.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named, publishing, sweep_temporaries

_SQLITE = "sqlite:///"
_LOCK = ".making"


def prepare_mlflow_database(uri: str) -> None:
    """Make the database that ``uri`` names, where it is a SQLite file and not there yet.

    Args:
        uri: MLflow's tracking and registry store; one that is a server or a PostgreSQL is left alone.

    Raises:
        UserError: the disk is full, the place cannot be written, or MLflow fails to make it.
    """
    if not uri.startswith(_SQLITE):
        return
    file = Path(uri.removeprefix(_SQLITE))
    if file.is_file():
        return
    with disk_errors_named(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.parent / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.is_file():
            sweep_temporaries(file.parent)
            _make(file)
    finally:
        os.close(lock)


def _make(file: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with publishing(file) as temporary:
        place = f"{_SQLITE}{temporary}"
        try:
            MlflowClient(tracking_uri=place, registry_uri=place).search_experiments(max_results=1)
        except MlflowException as error:
            raise UserError(f"MLflow cannot make its database '{file}'", " ".join(str(error).split())[:200]) from None
