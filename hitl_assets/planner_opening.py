"""How the next iteration of the planner program opens: when the one before is decided, on the policy that serves."""

from __future__ import annotations

import dagster as dg

from hitl_assets.planner_iterations import PLANNER_LOOP
from hitl_assets.planner_versions import report_versions
from hitl_ops.contracts.store import Store, iteration_key

DECISION = PLANNER_LOOP.decision
due_opening = PLANNER_LOOP.due_opening


def open_on_serving(instance: dg.DagsterInstance, store: Store, iteration: int) -> str:
    """Open an iteration on the policy that serves now; an open one stays as it is. Returns its key.

    Raises:
        UserError: no policy serves, or the registry or the label store cannot be read.
    """
    key = iteration_key(iteration)
    if key not in PLANNER_LOOP.opened(instance):
        PLANNER_LOOP.open(instance, iteration, PLANNER_LOOP.opening_on_serving(store, iteration).source)
    report_versions(instance, store)
    return key


def open_what_is_due(instance: dg.DagsterInstance, store: Store, iterations: int) -> str | None:
    """Open the next iteration, if the one before is decided; returns its key, None where nothing was due.

    Raises:
        UserError: the registry or the label store cannot be read.
    """
    due = due_opening(instance, store, iterations)
    return None if isinstance(due, str) else open_on_serving(instance, store, int(due.key))
