"""How the next iteration of the preference program opens: when the one before is decided, on the policy that serves."""

from __future__ import annotations

import dagster as dg

from hitl_assets.preference_iterations import PREFERENCE_LOOP
from hitl_assets.preference_versions import report_preference_versions
from hitl_ops.contracts.store import Store, iteration_key


def open_preference_iteration(instance: dg.DagsterInstance, store: Store, iteration: int) -> str:
    """Open an iteration on the policy that serves now; an open one stays as it is. Returns its key.

    Raises:
        UserError: no policy serves, or the registry or the label store cannot be read.
    """
    key = iteration_key(iteration)
    if key not in PREFERENCE_LOOP.opened(instance):
        PREFERENCE_LOOP.open(instance, iteration, PREFERENCE_LOOP.opening_on_serving(store, iteration).source)
    report_preference_versions(instance, store)
    return key
