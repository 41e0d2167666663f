"""How the next iteration of the station program opens: when the one before is decided, on the policy that serves."""

from __future__ import annotations

import dagster as dg

from hitl_assets.station_iterations import STATION_LOOP
from hitl_assets.station_presets import StationPreset
from hitl_assets.station_versions import report_station_versions
from hitl_ops.contracts.store import Store, iteration_key


def open_station_iteration(instance: dg.DagsterInstance, store: Store, iteration: int, chosen: StationPreset) -> str:
    """Open an iteration on the policy that serves now; an open one stays as it is. Returns its key.

    Args:
        instance: Dagster's instance.
        store: holds the registry.
        iteration: its number.
        chosen: the program's preset.

    Raises:
        UserError: no policy serves, or the registry or the label store cannot be read.
    """
    key = iteration_key(iteration)
    if key not in STATION_LOOP.opened(instance):
        STATION_LOOP.open(instance, iteration, STATION_LOOP.opening_on_serving(store, iteration).source)
        export_state(store, chosen)
    report_station_versions(instance, store, leave_out_refused=chosen.collection.refused_epochs == "leave_out")
    return key


def open_station_iteration_that_is_due(instance: dg.DagsterInstance, store: Store, chosen: StationPreset) -> str | None:
    """Open the next iteration, if the one before is decided; returns its key, None where nothing was due.

    Raises:
        UserError: the registry or the label store cannot be read.
    """
    due = STATION_LOOP.due_opening(instance, store, chosen.loop.iterations)
    return None if isinstance(due, str) else open_station_iteration(instance, store, int(due.key), chosen)


def export_state(store: Store, chosen: StationPreset, *, training: bool = False) -> None:
    """Write the state file for whoever reads it; nothing here ever does.

    Args:
        store: holds the registry.
        chosen: the program's preset.
        training: whether a policy is being trained right now.

    Raises:
        UserError: the registry cannot be read, or the file cannot be written.
    """
    from hitl_ops.serving.training_state import TaskNames, export_training_state

    names = TaskNames(chosen.collection.task, chosen.collection.description, chosen.config_name)
    export_training_state(store, names, last=chosen.loop.iterations, training=training)
