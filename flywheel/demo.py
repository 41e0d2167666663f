"""``flywheel demo``: a program's iteration 0 from end to end, and a table that says what came out."""

from __future__ import annotations

import enum
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.configuration import SetOption

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from flywheel.demo_stages import Stages
    from hitl_assets.presets import PlannerPreset
    from hitl_ops.contracts.store import Store

# What a person calls the assets, in the graph's order.
PLANNER_STAGES = {
    "household_episodes": "tasks in homes of their own",
    "teacher_rollouts": "the teacher plays",
    "distilled_samples": "its decisions become samples",
    "planner_adapter": "the student learns",
    "planner_policy": "weights and policy card",
    "planner_evaluation": "both play in unseen homes",
}


class Program(enum.StrEnum):
    """The programs that have a demo."""

    planner = "planner"


def demo(
    program: Annotated[Program, typer.Option(help="Which loop to show.")] = Program.planner,
    preset: Annotated[str, typer.Option(help="Scale: laptop, paper or tiny_ci.")] = "laptop",
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Forget what an earlier demo made; otherwise it is gone on with.")
    ] = False,
) -> int:
    """Let a teacher play, a student learn from it, and say how close it came, in homes neither has seen.

    Works through Dagster on the instance that `flywheel up` shows. A demo that was cut short goes on where it stopped.
    """
    from rich.console import Console

    from flywheel.demo_table import print_outcome
    from hitl_assets.presets import chosen_preset
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.contracts.store import Store
    from hitl_ops.evaluation.evaluate import read_evaluation

    started = time.monotonic()
    chosen = chosen_preset(preset, overrides)
    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, program)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]{program} program, iteration 000[/], preset {preset}, in {store.root}")
    code = _materialise(store, preset, overrides, chosen, errors)
    if code != 0:
        return code
    iteration = store.iteration(program, 0)
    summary, _ = read_evaluation(iteration.evaluation)
    seconds = time.monotonic() - started
    publish_json(
        store.demo_figures(program),
        {**summary.as_json(), "preset": preset, "overrides": list(overrides), "seconds": round(seconds, 1)},
    )
    print_outcome(console, summary, chosen.checks.gate_ratio, iteration, seconds)
    return 0


def _forget(store: Store, program: str) -> None:
    import shutil

    from hitl_ops.contracts.publish import disk_errors_named

    iteration = store.iteration(program, 0)
    with disk_errors_named(iteration.base):
        if iteration.base.is_dir():
            shutil.rmtree(iteration.base)
        store.demo_figures(program).unlink(missing_ok=True)


def _materialise(store: Store, preset: str, overrides: list[str], chosen: PlannerPreset, errors: Console) -> int:
    """Run the program's job in this process; returns an exit code."""
    import warnings

    # Of Dagster's own previews and deprecations, nothing a person watching a demo could act on.
    warnings.simplefilter("ignore")
    import dagster as dg

    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import demo_tags, end_what_was_killed
    from flywheel.demo_stages import shown_stages
    from hitl_assets.definitions import build_defs
    from hitl_assets.planner_jobs import planner_iteration_0
    from hitl_ops.contracts.store import iteration_key
    from resources.store import StoreResource

    # The processes that steps start work on the same store, wherever --root put it.
    os.environ["FLYWHEEL_HOME"] = str(store.root)
    # One bar a stage is enough; libraries would draw their own between ours.
    os.environ["TQDM_DISABLE"] = "1"
    log = store.iteration("planner", 0).base / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with opened_instance(store) as instance, shown_stages(PLANNER_STAGES, errors) as stages:
        end_what_was_killed(instance)
        definitions = build_defs(
            resource_overrides={"store": StoreResource(home=str(store.root)), "progress": stages},
            loggers={"file": _file_logger(log)},
        )
        result = definitions.resolve_job_def(planner_iteration_0.name).execute_in_process(
            instance=instance,
            partition_key=iteration_key(0),
            run_config={
                "resources": {"preset": {"config": {"name": preset, "overrides": overrides}}},
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
    errors.print(f"the demo did not come to its end; what happened is in {log}")
    return 1
