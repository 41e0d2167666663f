"""Dagster's instance under the store's root: the one that ``flywheel up`` shows and ``flywheel demo`` writes to."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named

if TYPE_CHECKING:
    import dagster as dg

    from hitl_ops.contracts.store import Store


def source_root() -> Path:
    """The folder that holds Procfile, workspace.yaml and dagster.yaml: the clone this package is run from.

    Raises:
        UserError: Flywheel runs from an installed wheel, which does not carry them.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / "workspace.yaml").is_file():
        raise UserError(f"'{root}' is not a clone of Flywheel: workspace.yaml is missing", "run it from a clone")
    return root


def prepare_dagster_home(store: Store) -> Path:
    """Create ``<root>/dagster`` with the repository's ``dagster.yaml`` linked into it; a file of the user's stays.

    Returns:
        The folder, for ``DAGSTER_HOME``.

    Raises:
        UserError: the folder cannot be written.
    """
    home = store.dagster_home
    target = home / "dagster.yaml"
    with disk_errors_named(target):
        home.mkdir(parents=True, exist_ok=True)
        store.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        with contextlib.suppress(FileExistsError):
            target.symlink_to(source_root() / "dagster.yaml")
    return home


def loop_environment(store: Store) -> dict[str, str]:
    """This process's environment with the store and Dagster's home named, and this Python's commands found first."""
    commands = str(Path(sys.executable).parent)
    environment = dict(os.environ)
    if sys.dont_write_bytecode and not environment.get("PYTHONPYCACHEPREFIX"):
        # Every run is a process of its own: one that compiles Dagster anew starts three seconds later.
        environment["PYTHONPYCACHEPREFIX"] = str(store.cache / "bytecode")
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **environment,
        "PATH": f"{commands}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLYWHEEL_HOME": str(store.root),
        "DAGSTER_HOME": str(prepare_dagster_home(store)),
        "PYTHONUNBUFFERED": "1",
        # Deprecations inside the servers' own libraries are nothing to act on.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"),
    }


@contextlib.contextmanager
def opened_instance(store: Store) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance under ``store``, with iteration 000 of every program opened, and told what people gave.

    Raises:
        UserError: the folder cannot be written, or its ``dagster.yaml`` is not accepted.
    """
    import dagster as dg

    from hitl_assets.dagger_iterations import open_first_dagger_iteration
    from hitl_assets.planner_iterations import open_first_iteration
    from hitl_assets.planner_versions import report_versions
    from hitl_assets.preference_iterations import open_first_preference_iteration
    from hitl_assets.preference_versions import report_preference_versions
    from hitl_assets.station_iterations import open_first_station_iteration
    from hitl_assets.station_versions import report_station_versions

    home = prepare_dagster_home(store)
    try:
        instance = dg.DagsterInstance.from_config(str(home))
    except dg.DagsterInvalidConfigError as error:
        first = error.errors[0].message if error.errors else str(error)
        raise UserError(f"'{home / 'dagster.yaml'}' is not accepted", " ".join(first.split())) from None
    with instance:
        open_first_iteration(instance)
        open_first_station_iteration(instance)
        open_first_preference_iteration(instance)
        open_first_dagger_iteration(instance)
        # Runs compare what they are made from with what was told before they began.
        report_versions(instance, store)
        report_station_versions(instance, store)
        report_preference_versions(instance, store)
        yield instance
