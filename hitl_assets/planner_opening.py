"""How the next iteration of the planner program opens: when the one before is decided, on the policy that serves."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from hitl_assets.planner_iterations import POLICY, PROGRAM, SOURCE, open_iteration, opened_iterations
from hitl_assets.planner_versions import report_versions
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import disk_errors_named
from hitl_ops.contracts.store import Store, iteration_key

DECISION = dg.AssetKey("planner_promotion")


@dataclass(frozen=True)
class DueOpening:
    """An iteration that is to be opened.

    Attributes:
        key: its partition key.
        source: what it starts from, as metadata of ``base_policy``.
    """

    key: str
    source: dict[str, str]


def due_opening(instance: dg.DagsterInstance, store: Store, iterations: int) -> DueOpening | str:
    """The iteration to open next, or why there is none.

    Args:
        instance: Dagster's instance.
        store: holds the registry.
        iterations: the last iteration that is opened without anybody asking for it.

    Raises:
        UserError: the registry cannot be read.
    """
    opened = opened_iterations(instance)
    if not opened:
        return "no iteration is open yet"
    newest = opened[-1]
    if newest not in instance.get_materialized_partitions(DECISION):
        return f"iteration {newest} is not decided yet"
    if int(newest) >= iterations:
        return f"iteration {newest} was the last of {iterations}"
    try:
        return opening_on_serving(store, int(newest) + 1)
    except UserError as error:
        return str(error)


def opening_on_serving(store: Store, iteration: int) -> DueOpening:
    """How an iteration opens that starts from what serves now. Its folder is made, for collecting to find it.

    Raises:
        UserError: no policy serves, the registry cannot be read, or the folder cannot be made.
    """
    from hitl_ops.serving.policy_alias import resolve

    serving = resolve(store, PROGRAM)
    if serving is None:
        raise UserError("no policy serves yet", f"promote one with `flywheel promote {PROGRAM} 0`")
    paths = store.iteration(PROGRAM, iteration)
    with disk_errors_named(paths.base):
        paths.base.mkdir(parents=True, exist_ok=True)
    return DueOpening(
        iteration_key(iteration), {POLICY: serving.policy_id, SOURCE: f"served when iteration {paths.key} was opened"}
    )


def open_on_serving(instance: dg.DagsterInstance, store: Store, iteration: int) -> str:
    """Open an iteration on the policy that serves now; an open one stays as it is. Returns its key.

    Raises:
        UserError: no policy serves, or the registry or the label store cannot be read.
    """
    key = iteration_key(iteration)
    if key not in opened_iterations(instance):
        due = opening_on_serving(store, iteration)
        open_iteration(instance, iteration, due.source)
    report_versions(instance, store)
    return key


def open_what_is_due(instance: dg.DagsterInstance, store: Store, iterations: int) -> str | None:
    """Open the next iteration, if the one before is decided; returns its key, None where nothing was due.

    Raises:
        UserError: the registry or the label store cannot be read.
    """
    due = due_opening(instance, store, iterations)
    return None if isinstance(due, str) else open_on_serving(instance, store, int(due.key))
