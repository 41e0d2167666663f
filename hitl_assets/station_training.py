"""The station program's learning: a policy that answers with chunks of actions, from the data set of all epochs.

A thin layer over ``hitl_ops.training``. Iteration 000 learns from the first weights; a later one from these again, or,
where ``refinement.start`` says so, from the policy it was opened on.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.provenance import code_version, policy_hash
from hitl_assets.station_data import SUMMARY_FILE, dataset_folder, station_dataset
from hitl_assets.station_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    STATION_LOOP,
    stage_tags,
    station_base_policy,
    station_input,
    station_iterations,
)
from hitl_assets.station_opening import export_state
from hitl_assets.station_presets import StationPreset
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.samples.station_dataset import StationDatasetSummary
from hitl_ops.training.action_config import ActionTrainConfig
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

STATION_TRAINING_SOURCES = (
    "contracts",
    "models/action_model.py",
    "models/lerobot_policy.py",
    "training/action_config.py",
    "training/action_data.py",
    "training/action_policy.py",
    "training/optimization.py",
    "training/sample_reader.py",
)


@dataclass(frozen=True)
class StationLessons:
    """How an iteration's policy is trained.

    Attributes:
        config: what the training is told.
        parent: id of the policy it starts from; "" where it starts from the first weights.
        start: folder of that policy's weights; None likewise.
    """

    config: ActionTrainConfig
    parent: str = ""
    start: Path | None = None


def station_lessons(
    chosen: StationPreset, store: Store, iteration: IterationPaths, instance: dg.DagsterInstance
) -> StationLessons:
    """What the preset says about training in this iteration.

    Raises:
        UserError: a later iteration was never opened, or there is no policy for it to start from.
    """
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER

    if iteration.iteration == 0:
        return StationLessons(chosen.training)
    if chosen.refinement.start == "base":
        return StationLessons(chosen.refinement.training)
    parent = STATION_LOOP.parent_of(instance, iteration.key)
    start = store.policy(PROGRAM, parent) / WEIGHTS_FOLDER
    if not start.is_dir():
        raise UserError(f"the weights of '{parent}' are gone ('{start}')", "restore them, or set refinement.start=base")
    return StationLessons(chosen.refinement.training, parent, start)


def dataset_summary(iteration: IterationPaths) -> StationDatasetSummary:
    """What stands in an iteration's data set.

    Raises:
        UserError: there is none.
    """
    file = iteration.samples / SUMMARY_FILE
    try:
        return StationDatasetSummary.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no data set in '{iteration.samples}'", "materialise station_dataset first") from None
    except ValueError:
        raise UserError(f"'{file}' is damaged", "materialise station_dataset again") from None


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors", "mlflow"},
    tags=stage_tags("training"),
    partitions_def=station_iterations,
    deps=[station_dataset, station_base_policy, station_input],
    code_version=code_version(*STATION_TRAINING_SOURCES),
    # One training at a time on an accelerator: the pool's limit is in dagster.yaml.
    pool="gpu",
    description=(
        "The policy: chunks of actions cloned from the data set, told of each frame whether people said good or bad, "
        "and asked with good from then on.\n\n"
        "Runs as a process of its own, `flywheel train --program station`, through Dagster Pipes: it can be cancelled, "
        "goes on from its last checkpoint, and is the very command a person would type. Weights and card are what "
        "`flywheel serve` serves."
    ),
)
def station_policy(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train, or go on with a training of the same data and configuration, and publish what came of it."""
    from hitl_ops.models.planner_lm import CARD_FILE
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER

    told = progress.of_step(context)
    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        lessons = station_lessons(chosen, store.open(), iteration, context.instance)
        export_state(store.open(), chosen, training=True)
        summary = launch_training(
            context,
            station_lesson(
                lessons, chosen.processes, dataset_folder(iteration), dataset_summary(iteration), iteration.policy
            ),
            store.open(),
            iteration,
            launcher,
            tracker,
            told,
        )
        card = published(iteration.policy, dataset_folder(iteration), iteration, lessons.parent)
        export_state(store.open(), chosen)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            policy_hash(iteration.policy, iteration.policy / WEIGHTS_FOLDER, iteration.policy / CARD_FILE)
        ),
        metadata={
            "policy": card.policy_id,
            "parent": card.parent,
            **run_page(tracker, summary),
            **numbers(summary, "train_loss", "validation_loss"),
            "steps": summary["steps"],
            "resumed at step": summary["resumed_step"],
            "episodes": summary["train_episodes"],
            "frames": summary["train_frames"],
            "frames told": showing.counts(
                {
                    "good": summary["frames_good"],
                    "bad": summary["frames_bad"],
                    "nothing": summary["frames_untold"],
                },
                of="what was said",
            ),
            "samples per second": summary["samples_per_second"],
            "seconds": summary["seconds"],
            "kind": summary["kind"],
            "parameters": summary["parameters"],
            "starts from": lessons.parent or "the first weights",
            "loss": showing.pictures(sorted((iteration.policy / "plots").glob("*.png"))),
            "weights": showing.path(iteration.policy / WEIGHTS_FOLDER),
            "card": showing.path(iteration.policy / CARD_FILE),
            "log": showing.path(iteration.policy / LOG_FILE),
        },
    )


def station_lesson(
    lessons: StationLessons, processes: int, dataset: Path, held: StationDatasetSummary, out: Path
) -> Lesson:
    """The training of a policy, as it is started.

    Args:
        lessons: how.
        processes: that train together.
        dataset: what is learned from.
        held: what stands in it.
        out: folder of this training alone.
    """
    return Lesson(
        dataset,
        out,
        lessons.config,
        {
            "config": lessons.config.decisive(),
            "processes": processes,
            "samples": held.manifest_hash,
            "parent": lessons.parent,
        },
        processes,
        ("--program", PROGRAM, *(() if lessons.start is None else ("--base", str(lessons.start)))),
    )


def published(
    folder: Path,
    dataset: Path,
    iteration: IterationPaths,
    parent: str = "",
    *,
    asset: str = "station_policy",
    sources: Sequence[str] = STATION_TRAINING_SOURCES,
) -> PolicyCard:
    """Make a policy of a finished training; returns its card.

    Args:
        folder: the training's.
        dataset: what it learned from.
        iteration: the iteration, and with it the program, that the policy belongs to.
        parent: id of the policy it started from; "" where it started from the first weights.
        asset: whose training it is, for the remedy.
        sources: the code that decides what it gives.

    Raises:
        UserError: there is no finished training in the folder.
    """
    from hitl_ops.training.action_policy import SUMMARY, ActionTrainSummary
    from hitl_ops.training.publish_robot_policy import publish_robot_policy

    if not (folder / SUMMARY).is_file():
        raise UserError(f"there is no finished training in '{folder}'", f"materialise {asset} again")
    trained = ActionTrainSummary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))
    return publish_robot_policy(
        trained,
        dataset,
        folder,
        program=iteration.program,
        iteration=iteration.iteration,
        code_version=code_version(*sources),
        parent=parent or first_weights(ActionTrainConfig.model_validate(trained.config)),
    )


def publish_by_hand(folder: Path, dataset: Path) -> str:
    """Make a policy of a training that a person started; returns its id.

    Raises:
        UserError: the training has not come to its end.
    """
    return published(folder, dataset, IterationPaths(PROGRAM, "000", folder.parent), "").policy_id


def first_weights(config: ActionTrainConfig) -> str:
    """What a training from the first weights starts from, for the card."""
    return config.model.pretrained or config.model.kind
