"""The advantage program's estimator: trained on the marked episodes, it says of new ones what nobody has marked.

A thin layer over ``hitl_ops.training`` and ``hitl_ops.samples`` (kai0's stages 1 and 2).
"""

# Annotations stay objects here; see `advantage_data`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.advantage_data import (
    LABEL_SOURCES,
    labeled_dataset,
    labelled_result,
    marked_dataset,
    new_dataset,
    overlay_version,
    progress_dataset,
)
from hitl_assets.advantage_iterations import GROUP, OWNERS, PROGRAM, AdvantagePaths, advantage_iterations, stage_tags
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import AdvantagePresetChoice
from hitl_assets.provenance import code_version, folder_hash
from hitl_ops.contracts.errors import UserError
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

ESTIMATION_SOURCES = (
    "models/advantage_estimator.py",
    "models/estimator_config.py",
    "models/frame_backbones.py",
    "models/vla_backbone.py",
    "records/video_stream.py",
    "samples/estimated_advantages.py",
    "samples/estimation_input.py",
    "samples/estimation_output.py",
    "samples/frame_encoding.py",
)
ESTIMATOR_SOURCES = (
    "contracts",
    "models/advantage_estimator.py",
    "models/estimator_config.py",
    "models/frame_backbones.py",
    "models/vla_backbone.py",
    "records/video_stream.py",
    "training/estimator.py",
    "training/estimator_batches.py",
    "training/estimator_config.py",
    "training/estimator_data.py",
    "training/estimator_pictures.py",
    "training/estimator_report.py",
    "training/optimization.py",
)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors", "mlflow"},
    tags=stage_tags("estimator"),
    partitions_def=advantage_iterations,
    deps=[progress_dataset, labeled_dataset],
    code_version=code_version(*ESTIMATOR_SOURCES),
    pool="gpu",
    description=(
        "The estimator: it looks at pictures and joints, and says how much progress lies between two moments (KAI0) "
        "or how far one moment is (PI06).\n\n"
        "Runs as a process of its own, `flywheel train-estimator`, through Dagster Pipes; goes on from its last "
        "checkpoint. Episodes are held out to say how well it does."
    ),
)
def advantage_estimator(
    context: dg.AssetExecutionContext,
    advantage_preset: AdvantagePresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train, or go on with a training of the same data and configuration."""
    told = progress.of_step(context)
    with mistakes_named():
        chosen = advantage_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = AdvantagePaths(iteration)
        dataset = marked_dataset(chosen, paths)
        summary = launch_training(
            context,
            Lesson(
                dataset,
                paths.estimator,
                chosen.estimator,
                {
                    "config": chosen.estimator.decisive(),
                    "processes": chosen.processes,
                    "samples": overlay_version(paths.progress),
                },
                chosen.processes,
                ("--overlay", str(paths.progress)),
                verb="train-estimator",
            ),
            store.open(),
            iteration,
            launcher,
            tracker,
            told,
        )
    weights = estimator_folder(paths)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(folder_hash(weights)),
        metadata={
            **run_page(tracker, summary),
            **numbers(summary, "train_loss", "validation_loss", "seconds", "frames_per_second"),
            "steps": summary["steps"],
            "resumed at step": summary["resumed_step"],
            "pictures": showing.pictures(sorted(paths.estimator.glob("plots/*.png"))),
            "weights": showing.path(weights),
            "log": showing.path(paths.estimator / LOG_FILE),
        },
    )


def estimator_folder(paths: AdvantagePaths) -> Path:
    """The trained estimator.

    Raises:
        UserError: there is none.
    """
    weights = paths.estimator / "trained"
    if not weights.is_dir():
        raise UserError(f"there is no trained estimator in '{paths.estimator}'", "materialise advantage_estimator")
    return weights


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "parquet"},
    tags=stage_tags("estimation"),
    partitions_def=advantage_iterations,
    deps=[advantage_estimator],
    code_version=code_version(*ESTIMATION_SOURCES),
    pool="gpu",
    description=(
        "What the estimator says of every frame of the new episodes: `relative_advantage` (KAI0), `absolute_value`, "
        "`absolute_advantage`, laid over the data set. What `flywheel estimate-advantage` does by hand."
    ),
)
def estimated_dataset(
    context: dg.AssetExecutionContext,
    advantage_preset: AdvantagePresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Estimate what is not estimated yet."""
    from hitl_ops.evaluation.advantage_film import draw_episode
    from hitl_ops.samples.estimated_advantages import estimate_advantages

    with mistakes_named():
        chosen = advantage_preset.resolve()
        paths = AdvantagePaths(store.iteration(PROGRAM, context.partition_key))
        dataset = new_dataset(chosen, paths)
        summary = estimate_advantages(
            estimator_folder(paths),
            dataset,
            chosen.estimation,
            paths.estimated,
            progress.of_step(context),
            replace=True,
        )
        paths.plots.mkdir(parents=True, exist_ok=True)
        pictures = [paths.plots / f"estimated_{episode}.png" for episode in range(min(3, summary.episodes))]
        for episode, picture in enumerate(pictures):
            draw_episode(dataset, episode, paths.estimated, picture)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(overlay_version(paths.estimated)),
        metadata={
            "episodes": summary.episodes,
            "frames": summary.frames,
            "estimated now": summary.estimated_now,
            **({} if summary.frames_per_second is None else {"frames per second": round(summary.frames_per_second, 1)}),
            "episodes under their frames": showing.pictures(pictures),
            "overlay": showing.path(paths.estimated),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"lerobot", "parquet"},
    tags=stage_tags("labels"),
    partitions_def=advantage_iterations,
    deps=[estimated_dataset],
    code_version=code_version(*LABEL_SOURCES),
    description=(
        "Advantage labels of the new episodes, made from what the estimator said: the prompts that the policy is "
        "trained with."
    ),
)
def advantage_dataset(
    context: dg.AssetExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.MaterializeResult[Any]:
    """Label the new episodes."""
    from hitl_ops.samples.advantage_labels import label_advantage

    with mistakes_named():
        chosen = advantage_preset.resolve()
        paths = AdvantagePaths(store.iteration(PROGRAM, context.partition_key))
        paths.plots.mkdir(parents=True, exist_ok=True)
        summary = label_advantage(
            new_dataset(chosen, paths),
            chosen.estimated_labels,
            overlay=paths.advantage,
            overlays=[paths.estimated],
            plot=paths.plots / "advantage.png",
        )
    return labelled_result(summary, paths.advantage)
