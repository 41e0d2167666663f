"""``flywheel train --program station``: a robot's policy learns from a LeRobot data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from flywheel.late_tracker import LateTracker
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.training.action_config import ActionTrainConfig
    from hitl_ops.training.action_policy import ActionTrainSummary


@dataclass(frozen=True)
class RobotTraining:
    """What the command line says.

    Attributes:
        dataset: folder of the data set.
        overlays: folders with columns laid over it.
        out: folder of this training alone.
        base: folder of a policy to go on from; None: the first weights.
        steps: optimizer steps, in place of the configuration's.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.
        processes: that train together.
        merge: also publish a policy.
        track: record in MLflow.
        experiment: MLflow experiment.
        tags: of the MLflow run.
    """

    dataset: Path
    overlays: list[Path]
    out: Path
    base: Path | None
    steps: int | None
    preset: str
    config: Path | None
    overrides: list[str]
    processes: int
    merge: bool
    track: bool
    experiment: str
    tags: dict[str, str]


def train_robot(asked: RobotTraining) -> None:
    """Train, as the verb does.

    Raises:
        UserError: the data set, the policy to go on from or the configuration cannot be used.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.processes import is_first, is_joined, run_joined
    from flywheel.progress_bar import progress_bar
    from hitl_assets.station_presets import STATION_PRESETS
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.training.action_config import ActionTrainConfig

    starts_others = asked.processes > 1 and not is_joined()
    with reporting(starts_others=starts_others) as report:
        wanted = resolve_config(
            ActionTrainConfig,
            {name: preset.training for name, preset in STATION_PRESETS.items()},
            preset=asked.preset,
            file=asked.config,
            overrides=asked.overrides,
            options={"steps": asked.steps},
        )
        if not asked.dataset.is_dir():
            raise UserError(f"data set '{asked.dataset}' does not exist", "make it with `flywheel convert`")
        if starts_others:
            raise typer.Exit(run_joined(asked.processes, sys.argv[1:]))
        tracker = _tracker(asked, wanted) if asked.track and is_first() else None
        with progress_bar("train") as bar:
            summary = _tracked(asked, wanted, both(bar, report.progress), tracker)
        report.finished({**summary.model_dump(mode="json"), **(tracker.where() if tracker else {})})
    if not is_first():
        return
    _print_summary(summary, asked.out)
    if asked.merge:
        from hitl_assets.station_training import publish_by_hand

        print(publish_by_hand(asked.out, asked.dataset))


def weights_of(base: Path) -> Path:
    """The weights of a policy's folder, or the folder itself where it holds them."""
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER

    return base / WEIGHTS_FOLDER if (base / WEIGHTS_FOLDER).is_dir() else base


def _tracker(asked: RobotTraining, config: ActionTrainConfig) -> LateTracker:
    from flywheel.late_tracker import mlflow_run

    own = {"folder": str(asked.out.resolve()), "kind": config.model.kind}
    return mlflow_run(asked.out, asked.experiment, {**own, **asked.tags})


def _tracked(
    asked: RobotTraining, config: ActionTrainConfig, progress: Progress, tracker: LateTracker | None
) -> ActionTrainSummary:
    from flywheel.late_tracker import closing_with_status
    from hitl_ops.training.action_policy import train_action_policy

    with closing_with_status(tracker):
        return train_action_policy(
            config,
            asked.dataset,
            asked.out,
            progress,
            tracker,
            start=None if asked.base is None else weights_of(asked.base),
            overlays=asked.overlays,
        )


def _print_summary(summary: ActionTrainSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    table = Table(show_header=False)
    table.add_row("policy", f"{summary.kind}, {summary.parameters:,} parameters")
    table.add_row("starts from", summary.start or "the first weights")
    table.add_row("episodes", f"{summary.train_episodes}, and {summary.validation_episodes} to watch the loss")
    table.add_row("frames", f"{summary.frames_good} good, {summary.frames_bad} bad, {summary.frames_untold} untold")
    table.add_row("steps", f"{summary.steps} of {summary.total_steps}")
    table.add_row("training loss", figure(summary.train_loss))
    table.add_row("validation loss", figure(summary.validation_loss))
    table.add_row("speed", f"{summary.samples_per_second:,.0f} samples/s")
    Console().print(table)
    print(out / summary.trained)
