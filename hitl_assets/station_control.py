"""The station program's control: the same data, training and evaluation, with nobody's word listened to.

What the loop gains may come of the further episodes alone. The control says how much of it does: a policy trained from
the first weights on every episode of the iteration, good and bad alike, without knowing which is which. It is nobody's
candidate.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.launched_training import LOG_FILE, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.provenance import EXAMINATION_SOURCES, code_version, manifest_hash
from hitl_assets.station_data import (
    RECORDING_SOURCES,
    dataset_config,
    dataset_folder,
    opened_labels,
    recordings_of,
    station_dataset,
)
from hitl_assets.station_examination import (
    STUDENT,
    score_rows,
    station_evaluation,
    take_over_played,
)
from hitl_assets.station_iterations import GROUP, OWNERS, PROGRAM, stage_tags, station_input, station_iterations
from hitl_assets.station_presets import StationPreset
from hitl_assets.station_training import (
    STATION_TRAINING_SOURCES,
    StationLessons,
    dataset_summary,
    published,
    station_lesson,
)
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.training.action_config import ActionTrainConfig
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

CONTROL = "control"


def control_paths(iteration: IterationPaths) -> IterationPaths:
    """The control's own folders, below the iteration's."""
    return IterationPaths(iteration.program, iteration.key, iteration.base / CONTROL)


def control_training(chosen: StationPreset, iteration: int) -> ActionTrainConfig:
    """The iteration's training without the advantage.

    It starts from the first weights. Where the iteration's own training went on from earlier ones, it therefore gets
    the steps of all of them together.
    """
    config = chosen.training if iteration == 0 else chosen.refinement.training
    steps = config.steps
    if iteration and chosen.refinement.start == "previous":
        steps = chosen.training.steps + iteration * chosen.refinement.training.steps
    return config.replace(model=config.model.replace(advantage="none").model_dump(), steps=steps)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("control"),
    partitions_def=station_iterations,
    deps=[station_dataset, station_input],
    code_version=code_version(*RECORDING_SOURCES, *STATION_TRAINING_SOURCES),
    pool="gpu",
    description=(
        "A policy of the iteration's own episodes that is told nothing of what people said: prompts without an "
        "advantage, from the first weights, as many steps. To compare with, never to serve."
    ),
)
def station_control_policy(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Make the data set without the advantage, train, publish."""
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER
    from hitl_ops.samples.station_dataset import build_station_dataset
    from hitl_ops.samples.station_epochs import words_on

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        own = control_paths(iteration)
        files, _ = recordings_of(store.open(), chosen, iteration.iteration)
        with opened_labels(store) as labels:
            verdicts, excluded = words_on(files, labels)
        dataset = dataset_folder(own)
        held = build_station_dataset(
            files,
            dataset,
            dataset_config(chosen).replace(prompts="plain"),
            verdicts=verdicts,
            exclude=excluded,
            earlier=[dataset_folder(iteration)],
        )
        conditioned = dataset_summary(iteration)
        if (held.episodes, held.frames) != (conditioned.episodes, conditioned.frames):
            raise UserError(
                f"the control has {held.episodes} episodes, the data set of iteration {iteration.key} has "
                f"{conditioned.episodes}",
                "materialise station_dataset again",
            )
        lessons = StationLessons(control_training(chosen, iteration.iteration))
        summary = launch_training(
            context,
            station_lesson(lessons, chosen.processes, dataset, held, own.policy),
            store.open(),
            own,
            launcher,
            tracker,
            progress.of_step(context),
        )
        card = published(own.policy, dataset, own, "")
    weights = sorted((own.policy / WEIGHTS_FOLDER).glob("*.safetensors"))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(weights, relative_to=own.policy)),
        metadata={
            "policy": card.policy_id,
            **run_page(tracker, summary),
            **numbers(summary, "train_loss", "validation_loss"),
            "steps": summary["steps"],
            "episodes": held.episodes,
            "frames": held.frames,
            "loss": showing.pictures(sorted((own.policy / "plots").glob("*.png"))),
            "weights": showing.path(own.policy / WEIGHTS_FOLDER),
            "log": showing.path(own.policy / LOG_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python"},
    tags=stage_tags("control"),
    partitions_def=station_iterations,
    deps=[station_control_policy, station_evaluation, station_input],
    code_version=code_version(*EXAMINATION_SOURCES),
    description=(
        "The control's examination: the episodes that the iteration's policy played, compared with it in pairs.\n\n"
        "The difference is what listening to people is worth on these data."
    ),
)
def station_control_evaluation(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let the control play beside the iteration's policy."""
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE
    from hitl_ops.evaluation.robot_evaluation import evaluate_robot_policies
    from hitl_ops.serving.policy_alias import policy_of

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        own = control_paths(iteration)
        players: dict[str, Path] = {STUDENT: iteration.policy, CONTROL: own.policy}
        take_over_played(own, [iteration])
        summary = evaluate_robot_policies(
            players,
            own.evaluation,
            chosen.evaluation.replace(scoring=chosen.evaluation.scoring.replace(reference=CONTROL).model_dump()),
            progress.of_step(context),
            policy_ids={STUDENT: policy_of(iteration).policy_id, CONTROL: policy_of(own).policy_id},
            code_version=code_version(*EXAMINATION_SOURCES),
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([own.evaluation / SUMMARY_FILE], relative_to=own.evaluation)),
        metadata={
            "success": round(summary.primary(CONTROL).success.mean, 4),
            "success with the advantage": round(summary.primary(STUDENT).success.mean, 4),
            "scores": showing.table(score_rows(summary)),
            "summary": showing.path(own.evaluation / SUMMARY_FILE),
        },
    )


CONTROL_ASSETS: list[dg.AssetsDefinition] = [station_control_policy, station_control_evaluation]
