"""Runs of the demo in Dagster's instance: told apart by who runs them, and ended when those are gone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    import dagster as dg

_BY, _HOST, _PROCESS = "flywheel/started_by", "flywheel/host", "flywheel/process"


def demo_tags() -> dict[str, str]:
    """Tags that say which process runs a demo's run."""
    return {_BY: "demo", _HOST: socket.gethostname(), _PROCESS: str(os.getpid())}


def end_what_was_killed(instance: dg.DagsterInstance) -> None:
    """Mark runs of demos that were killed as failed, and free the pool slots they hold.

    Nobody else does: a run in the demo's process has no worker that Dagster could ask.

    Raises:
        UserError: another demo is at work in this store.
    """
    import dagster as dg

    unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    mine = {_BY: "demo", _HOST: socket.gethostname()}
    for run in instance.get_runs(dg.RunsFilter(tags=mine, statuses=unfinished)):
        process = int(run.tags.get(_PROCESS, "0"))
        if process != os.getpid() and _alive(process):
            raise UserError(f"a demo is at work in this store already (process {process})", "wait for it, or end it")
        instance.report_run_failed(run, "the demo's process was killed")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0
