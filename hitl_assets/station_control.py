"""The station program's controls: what the loop's gain comes of, told by policies that had less.

What the loop gains may come of further episodes, of longer training, or of knowing good from bad. Two policies say how
much of it does. One learns from every episode of the iteration and is told nothing of what people said; the other is
told like the iteration's own policy, but learns from the data set of iteration 000 alone. Both have as many steps as
the chain of trainings that led to the iteration's policy, in one training from the first weights, where that chain may
have gone on from one policy to the next. They are nobody's candidates.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.launched_training import LOG_FILE, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.provenance import EXAMINATION_SOURCES, code_version, manifest_hash, policy_hash
from hitl_assets.station_data import (
    RECORDING_SOURCES,
    dataset_config,
    dataset_folder,
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
    first_weights,
    published,
    station_lesson,
    station_policy,
)
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key
from hitl_ops.samples.station_dataset import StationDatasetSummary
from hitl_ops.training.action_config import ActionTrainConfig
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

CONTROL = "control"
"""What a control is called among the players of its examination."""
DIFFERENCE = "one training from the first weights, where the policy's own may be a chain of several"
"""What else differs between a control and the policy it is compared with."""


@dataclass(frozen=True)
class Control:
    """A policy to compare with.

    Attributes:
        name: in tables and figures.
        folder: its place below the iteration's.
    """

    name: str
    folder: str


TOLD_NOTHING = Control("told nothing", "control")
DEMONSTRATIONS_ONLY = Control("demonstrations only", "control_demonstrations")
CONTROLS = (TOLD_NOTHING, DEMONSTRATIONS_ONLY)


def control_paths(iteration: IterationPaths, control: Control) -> IterationPaths:
    """The control's own folders, below the iteration's."""
    return IterationPaths(iteration.program, iteration.key, iteration.base / control.folder)


def chain_steps(store: Store, card: PolicyCard) -> int:
    """Steps of all trainings that led from the first weights to a policy.

    Raises:
        UserError: a policy that one of them started from is gone.
    """
    from hitl_ops.models.planner_lm import read_card

    config = ActionTrainConfig.model_validate(card.config)
    if card.parent == first_weights(config):
        return config.steps
    return config.steps + chain_steps(store, read_card(store.policy(PROGRAM, card.parent)))


def control_training(chosen: StationPreset, iteration: int, steps: int, control: Control) -> ActionTrainConfig:
    """The iteration's training as a control has it.

    Args:
        chosen: the program's preset.
        iteration: which.
        steps: of the chain that led to the iteration's policy.
        control: which; one that is told nothing has no input for it either.
    """
    config = (chosen.training if iteration == 0 else chosen.refinement.training).replace(steps=steps)
    if control is TOLD_NOTHING:
        return config.replace(model=config.model.replace(advantage="none").model_dump())
    return config


def _untold_dataset(
    store: StoreResource, chosen: StationPreset, iteration: IterationPaths, own: IterationPaths
) -> tuple[Path, StationDatasetSummary]:
    """The iteration's episodes once more, without a word of what was said of them."""
    from hitl_ops.samples.station_dataset import build_station_dataset
    from hitl_ops.samples.station_epochs import words_on

    files, _ = recordings_of(store.open(), chosen, iteration.iteration)
    with store.opened_labels() as labels:
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
    return dataset, held


def _train(
    control: Control,
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: ProgressListener,
) -> dg.MaterializeResult[Any]:
    """Train a control, and publish it."""
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER
    from hitl_ops.serving.policy_alias import policy_of

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        own = control_paths(iteration, control)
        if control is TOLD_NOTHING:
            dataset, held = _untold_dataset(store, chosen, iteration, own)
        else:
            first = store.iteration(PROGRAM, iteration_key(0))
            dataset, held = dataset_folder(first), dataset_summary(first)
        steps = chain_steps(store.open(), policy_of(iteration))
        lessons = StationLessons(control_training(chosen, iteration.iteration, steps, control))
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
    return dg.MaterializeResult(
        data_version=dg.DataVersion(policy_hash(own.policy, own.policy / WEIGHTS_FOLDER)),
        metadata={
            "policy": card.policy_id,
            **run_page(tracker, summary),
            **numbers(summary, "train_loss", "validation_loss"),
            "steps": summary["steps"],
            "what else differs": DIFFERENCE,
            "episodes": held.episodes,
            "frames": held.frames,
            "loss": showing.pictures(sorted((own.policy / "plots").glob("*.png"))),
            "weights": showing.path(own.policy / WEIGHTS_FOLDER),
            "log": showing.path(own.policy / LOG_FILE),
        },
    )


def _examine(
    control: Control,
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: ProgressListener,
) -> dg.MaterializeResult[Any]:
    """Let a control play beside the iteration's policy."""
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE
    from hitl_ops.evaluation.robot_evaluation import evaluate_robot_policies
    from hitl_ops.serving.policy_alias import policy_of

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        own = control_paths(iteration, control)
        take_over_played(own, [iteration])
        summary = evaluate_robot_policies(
            {STUDENT: iteration.policy, CONTROL: own.policy},
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
            "success of the iteration's policy": round(summary.primary(STUDENT).success.mean, 4),
            "scores": showing.table(score_rows(summary)),
            "summary": showing.path(own.evaluation / SUMMARY_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("control"),
    partitions_def=station_iterations,
    deps=[station_dataset, station_policy, station_input],
    code_version=code_version(*RECORDING_SOURCES, *STATION_TRAINING_SOURCES),
    pool="gpu",
    description=(
        "A policy of the iteration's own episodes that is told nothing of what people said: prompts without an "
        "advantage, from the first weights, as many steps as the iteration's policy had in all. To compare with, never "
        "to serve."
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
    return _train(TOLD_NOTHING, context, station_preset, store, launcher, tracker, progress)


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
    return _examine(TOLD_NOTHING, context, station_preset, store, progress)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("control"),
    partitions_def=station_iterations,
    deps=[station_dataset, station_policy, station_input],
    code_version=code_version(*STATION_TRAINING_SOURCES),
    pool="gpu",
    description=(
        "A policy of iteration 000's data set alone, told of verdicts like the iteration's policy: from the first "
        "weights, as many steps as that one had in all. To compare with, never to serve."
    ),
)
def station_control_demonstrations_policy(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train on what there was before stations collected anything, publish."""
    return _train(DEMONSTRATIONS_ONLY, context, station_preset, store, launcher, tracker, progress)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python"},
    tags=stage_tags("control"),
    partitions_def=station_iterations,
    deps=[station_control_demonstrations_policy, station_evaluation, station_input],
    code_version=code_version(*EXAMINATION_SOURCES),
    description=(
        "The second control's examination: the episodes that the iteration's policy played, compared with it in "
        "pairs.\n\nThe difference is what the stations' episodes are worth."
    ),
)
def station_control_demonstrations_evaluation(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let the control play beside the iteration's policy."""
    return _examine(DEMONSTRATIONS_ONLY, context, station_preset, store, progress)


CONTROL_ASSETS: list[dg.AssetsDefinition] = [
    station_control_policy,
    station_control_evaluation,
    station_control_demonstrations_policy,
    station_control_demonstrations_evaluation,
]
