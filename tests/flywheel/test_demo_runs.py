"""A demo that was killed leaves a run behind; the next one ends it. A demo at work is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import dagster as dg
import pytest

from flywheel.demo_runs import demo_tags, end_what_was_killed
from hitl_ops.contracts.errors import UserError


def _started_run(instance: dg.DagsterInstance, process: int) -> str:
    run = instance.create_run_for_job(
        dg.Definitions(assets=[dg.AssetSpec("nothing")]).resolve_implicit_global_asset_job_def(),
        tags={**demo_tags(), "flywheel/process": str(process)},
        status=dg.DagsterRunStatus.STARTED,
    )
    return run.run_id


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_runs_of_killed_demos_are_ended() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = _started_run(instance, _dead_process())
        end_what_was_killed(instance)
        assert _status(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_a_demo_at_work_is_named() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = _started_run(instance, os.getppid())
        with pytest.raises(UserError, match=f"process {os.getppid()}"):
            end_what_was_killed(instance)
        assert _status(instance, run_id) is dg.DagsterRunStatus.STARTED


def test_other_runs_are_left_alone() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            dg.Definitions(assets=[dg.AssetSpec("nothing")]).resolve_implicit_global_asset_job_def(),
            status=dg.DagsterRunStatus.STARTED,
        )
        end_what_was_killed(instance)
        assert _status(instance, run.run_id) is dg.DagsterRunStatus.STARTED
