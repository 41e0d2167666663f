"""A job of the asset graph run in this process: on the instance that ``flywheel up`` shows, watched stage by stage."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from flywheel.demo_stages import Stages
    from hitl_ops.contracts.store import Store


@dataclass(frozen=True)
class Scale:
    """What the runs of one program work at.

    Attributes:
        program: its name.
        resource: the resource that holds its preset.
        config: what that resource is told.
    """

    program: str
    resource: str
    config: Mapping[str, Any] = field(default_factory=dict)


def planner_scale(preset: str, overrides: Sequence[str]) -> Scale:
    """A scale of the planner program."""
    return Scale("planner", "preset", {"name": preset, "overrides": list(overrides)})


def station_scale(preset: str, overrides: Sequence[str], world: str = "") -> Scale:
    """A scale of the station program."""
    return Scale("station", "station_preset", {"name": preset, "world": world, "overrides": list(overrides)})


def advantage_scale(preset: str, overrides: Sequence[str]) -> Scale:
    """A scale of the advantage program."""
    return Scale("advantage", "advantage_preset", {"name": preset, "overrides": list(overrides)})


def preference_scale(preset: str, overrides: Sequence[str]) -> Scale:
    """A scale of the preference program."""
    return Scale("preference", "preference_preset", {"name": preset, "overrides": list(overrides)})


def dagger_scale(preset: str, overrides: Sequence[str]) -> Scale:
    """A scale of the dagger program."""
    return Scale("dagger", "dagger_preset", {"name": preset, "overrides": list(overrides)})


def run_job(
    job: str,
    partition: str,
    *,
    store: Store,
    instance: dg.DagsterInstance,
    scale: Scale,
    stages: Stages,
    errors: Console,
) -> int:
    """Run a job for one partition.

    Args:
        job: its name.
        partition: key of the iteration.
        store: what it works on, whatever the environment says.
        instance: Dagster's.
        scale: what it works at.
        stages: shown while it runs.
        errors: where a defect is told.

    Returns:
        An exit code: 0, 130 where the run was cancelled, 1 after a defect.

    Raises:
        UserError: it failed by something that can be mended, or a check stopped it.
    """
    import warnings

    # Of Dagster's own previews and deprecations, nothing a person watching could act on.
    warnings.simplefilter("ignore")
    import dagster as dg

    from flywheel.demo_runs import demo_tags
    from hitl_assets.definitions import build_defs
    from resources.store import StoreResource

    # The processes that steps start work on the same store, wherever --root put it.
    os.environ["FLYWHEEL_HOME"] = str(store.root)
    # One bar a stage is enough; libraries would draw their own between ours.
    os.environ["TQDM_DISABLE"] = "1"
    log = store.iteration(scale.program, partition).base / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    definitions = build_defs(
        resource_overrides={"store": StoreResource(home=str(store.root)), "progress": stages},
        loggers={"file": _file_logger(log)},
    )
    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=partition,
        run_config={
            "resources": {scale.resource: {"config": dict(scale.config)}},
            "loggers": {"file": {}},
        },
        tags=demo_tags(),
        raise_on_error=False,
    )
    if result.success:
        stages.ended()
        return 0
    status = instance.get_run_by_id(result.run_id)
    if status is not None and status.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING):
        return 130
    return _explain(result, stages, log, errors)


def _file_logger(path: Path) -> dg.LoggerDefinition:
    """Dagster's log, in a file rather than between the bars."""
    import logging

    import dagster as dg

    @dg.logger
    def to_file(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("flywheel-demo", level=logging.DEBUG)
        handler = logging.FileHandler(path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        return logger

    return to_file


def _explain(result: dg.ExecuteInProcessResult, stages: Stages, log: Path, errors: Console) -> int:
    """Say what went wrong: a mistake in its own line, a check in its findings, a defect with the log's name.

    Raises:
        UserError: it can be mended.
    """
    from hitl_ops.contracts.errors import UserError

    for check in result.get_asset_check_evaluations():
        if not check.passed and check.severity.value == "ERROR":
            asset = check.asset_key.to_user_string()
            raise UserError(
                f"check '{check.check_name}' of '{asset}' did not pass ({check.description})", f"see '{log}'"
            )
    for event in result.get_step_failure_events():
        failure: Any = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            raise UserError(failure.user_failure_data.description)
        step = event.step_key or ""
        error = failure.error.cause or failure.error if failure.error else None
        errors.print(f"{stages.stages.get(step, step)}: {error.message.strip() if error else 'no word'}", markup=False)
    errors.print(f"it did not come to its end; what happened is in {log}")
    return 1
