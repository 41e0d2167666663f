"""A training as assets start it: a process of its own that goes on where the last one of the same things stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets.claims import claim
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.publish import publish_json
from hitl_ops.contracts.store import IterationPaths, Store

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress
    from resources.launcher import LauncherResource
    from resources.tracker import TrackerResource

LOG_FILE = "train.log"


@dataclass(frozen=True)
class Lesson:
    """What a training is started with.

    Attributes:
        samples: what is learned from; None where the arguments name it.
        out: folder of this training alone.
        config: what it is told.
        made_from: everything that decides the weights, as plain data.
        processes: that train together.
        arguments: further words for the command.
        verb: the command of ``flywheel`` that trains.
        tracked: whether it is recorded in MLflow; None where the command has nothing to record.
    """

    samples: Path | None
    out: Path
    config: StrictConfig
    made_from: Mapping[str, Any]
    processes: int = 1
    arguments: Sequence[str] = field(default=())
    verb: str = "train"
    tracked: bool | None = True


def launch_training(
    context: dg.AssetExecutionContext,
    lesson: Lesson,
    store: Store,
    iteration: IterationPaths,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: Progress,
) -> dict[str, Any]:
    """Train, or go on with a training that was made from the same; returns what `flywheel train` reports.

    Raises:
        UserError: the training met a user's mistake, or the folder holds something else.
        dagster.Failure: it died of something else.
    """
    resumed = claim(lesson.out, lesson.made_from)
    context.log.info("going on where the last run stopped" if resumed else "starting anew")
    # JSON is YAML: the verb reads it like a file written by hand.
    publish_json(lesson.out / "config.yaml", lesson.config)
    return launcher.launch(
        context,
        [
            lesson.verb,
            *(() if lesson.samples is None else ("--samples", str(lesson.samples))),
            *("--out", str(lesson.out), "--config", str(lesson.out / "config.yaml")),
            *_tracking(lesson, iteration, context, tracker),
            *lesson.arguments,
        ],
        log=lesson.out / LOG_FILE,
        progress=progress,
        processes=lesson.processes,
        environment={"FLYWHEEL_HOME": str(store.root)},
    )


def _tracking(
    lesson: Lesson, iteration: IterationPaths, context: dg.AssetExecutionContext, tracker: TrackerResource
) -> list[str]:
    if lesson.tracked:
        return tracker.arguments(iteration.program, context.partition_key, context.run.run_id)
    return [] if lesson.tracked is None else ["--no-track"]


def run_page(tracker: TrackerResource, summary: Mapping[str, Any]) -> dict[str, dg.MetadataValue]:
    """The page of the MLflow run that a training was recorded in; empty where it was not."""
    if not summary.get("mlflow_run_id"):
        return {}
    return {"MLflow": dg.MetadataValue.url(tracker.run_page(summary["mlflow_experiment_id"], summary["mlflow_run_id"]))}


def numbers(summary: Mapping[str, Any], *names: str) -> dict[str, float]:
    """Those of the figures that there are; Dagster draws them across materialisations."""
    return {name.replace("_", " "): float(summary[name]) for name in names if summary.get(name) is not None}
