"""``flywheel train-estimator``: an advantage estimator learns how much of a task is done, from pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption

if TYPE_CHECKING:
    from flywheel.late_tracker import LateTracker
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.training.estimator import EstimatorSummary
    from hitl_ops.training.estimator_config import EstimatorTrainConfig


def train_estimator(
    dataset: Annotated[
        Path | None, typer.Argument(help="LeRobot data set, version 3.0 or 2.1; it is only read.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of this training alone; one that was cut short goes on.")
    ] = None,
    samples: Annotated[Path | None, typer.Option(help="The data set, where it is not named first.")] = None,
    overlay: Annotated[
        list[Path],
        typer.Option(help="Overlay that has the progress, or other columns; the last that has one counts. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    variant: Annotated[
        str | None, typer.Option(help="KAI0 compares two moments, PI06 looks at one; as the preset says by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    processes: Annotated[int, typer.Option(min=1, help="Processes that train together on this machine.")] = 1,
    track: Annotated[bool, typer.Option(help="Record figures and plots in MLflow.")] = True,
    experiment: Annotated[str, typer.Option(help="MLflow experiment to record under.")] = "advantage",
    tag: Annotated[list[str], typer.Option(metavar="KEY=VALUE", help="Tag of the MLflow run. Repeatable.")] = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Train an advantage estimator on a data set whose frames say how much of the task is done.

    The same command run again goes on from the last checkpoint, or says that the training has come to its end. On
    several machines start it with torchrun.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.processes import is_first, is_joined, run_joined
    from flywheel.progress_bar import progress_bar
    from flywheel.train import _tags
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.training.estimator_config import EstimatorTrainConfig
    from hitl_ops.training.estimator_presets import ESTIMATOR_PRESETS

    starts_others = processes > 1 and not is_joined()
    with reporting(starts_others=starts_others) as report:
        source = dataset or samples
        if source is None or out is None:
            raise UserError("a data set and --out are needed", "flywheel train-estimator DATASET --out FOLDER")
        wanted = resolve_config(
            EstimatorTrainConfig,
            ESTIMATOR_PRESETS,
            preset=preset,
            file=config,
            overrides=overrides,
            options={"steps": steps, "model.variant": variant},
        )
        if not source.is_dir():
            raise UserError(f"data set '{source}' does not exist", "make it with `flywheel convert`")
        tags = _tags(tag)
        if starts_others:
            raise typer.Exit(run_joined(processes, sys.argv[1:]))
        tracker = _tracker(out, wanted, experiment, tags) if track and is_first() else None
        with progress_bar("train") as bar:
            summary = _tracked(wanted, source, out, overlay, both(bar, report.progress), tracker)
        report.finished({**summary.model_dump(mode="json"), **(tracker.where() if tracker else {})})
    if is_first():
        _print_summary(summary, out)


def _tracker(out: Path, config: EstimatorTrainConfig, experiment: str, tags: dict[str, str]) -> LateTracker:
    from flywheel.late_tracker import mlflow_run

    own = {"folder": str(out.resolve()), "variant": config.model.variant, "backbone": config.model.backbone}
    return mlflow_run(out, experiment, {**own, **tags})


def _tracked(
    config: EstimatorTrainConfig,
    dataset: Path,
    out: Path,
    overlays: list[Path],
    progress: Progress,
    tracker: LateTracker | None,
) -> EstimatorSummary:
    from flywheel.late_tracker import closing_with_status
    from hitl_ops.training.estimator import train_estimator as run_training

    with closing_with_status(tracker):
        return run_training(config, dataset, out, progress, tracker, overlays=overlays)


def _print_summary(summary: EstimatorSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    table = Table(show_header=False)
    table.add_row("estimator", f"{summary.name}: {summary.variant} on {summary.backbone}")
    table.add_row("parameters", f"{summary.parameters:,}")
    left = f", {summary.left_out} of a single frame left out" if summary.left_out else ""
    table.add_row("episodes", f"{summary.train_episodes}, and {summary.validation_episodes} kept aside{left}")
    table.add_row("steps", f"{summary.steps} of {summary.total_steps}")
    table.add_row("training loss", figure(summary.train_loss))
    table.add_row("validation loss", figure(summary.validation_loss))
    table.add_row("correlation of advantages", figure(summary.advantage_pearson))
    table.add_row("correlation of values", figure(summary.value_pearson))
    table.add_row("speed", f"{summary.frames_per_second:,.0f} frames/s")
    Console().print(table)
    print(out / summary.trained)
