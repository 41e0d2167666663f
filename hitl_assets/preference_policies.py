"""The preference program's policies: one that is paid by the learned reward, and one to compare it with.

A thin layer over ``hitl_ops.training``. Both learn by PPO, with the same settings and as many steps an iteration.
"""

# Annotations stay objects here; see `preference_clips`.

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_iterations import (
    GROUP,
    OWNERS,
    PREFERENCE_LOOP,
    PROGRAM,
    PreferencePaths,
    preference_base_policy,
    preference_input,
    preference_iterations,
    stage_tags,
)
from hitl_assets.preference_learning import reward_model
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_assets.provenance import code_version, folder_hash, policy_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.policy_card import PolicyCard
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key
from hitl_ops.training.reach_config import ReachTrainConfig
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

if TYPE_CHECKING:
    from hitl_ops.labels.preferences import Preference
    from hitl_ops.training.reward_data import PreferenceData

TRUE_REWARD = "true"
PPO_SOURCES = (
    "contracts",
    "worlds/reach",
    "models/reach_policy.py",
    "models/reach_policy_config.py",
    "models/reward_model.py",
    "training/ppo.py",
    "training/ppo_config.py",
)


def policy_lesson(
    out: Path, config: ReachTrainConfig, reward: Path | None, start: Path | None = None, parent: str = ""
) -> Lesson:
    """A training of the arm's policy, as it is started.

    Args:
        out: folder of this training alone.
        config: how.
        reward: folder of the learned reward's weights; None: the world's own.
        start: folder of the policy it goes on from; None: first weights.
        parent: that policy's id.
    """
    paid = TRUE_REWARD if reward is None else folder_hash(reward)
    base = () if start is None else ("--base", str(start))
    return Lesson(
        None,
        out,
        config,
        {
            # All of it, total_steps too: how fast the learning rate falls depends on it.
            "config": config.model_dump(mode="json"),
            "reward": paid,
            "start": parent,
        },
        arguments=("--program", PROGRAM, "--reward", TRUE_REWARD if reward is None else str(reward), *base),
        tracked=reward is not None,
    )


def _train(
    lesson: Lesson,
    words: "list[Preference]",
    data: "PreferenceData | None",
    context: dg.AssetExecutionContext,
    store: Store,
    own: IterationPaths,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: ProgressListener,
) -> tuple[dict[str, Any], PolicyCard]:
    from hitl_ops.training.publish_reach_policy import publish_reach_policy

    summary = launch_training(context, lesson, store, own, launcher, tracker, progress.of_step(context))
    card = publish_reach_policy(
        own.policy, words, data, program=PROGRAM, iteration=own.iteration, code_version=code_version(*PPO_SOURCES)
    )
    return summary, card


def _result(
    summary: dict[str, Any], card: PolicyCard, own: IterationPaths, tracker: TrackerResource, start: str
) -> dg.MaterializeResult[Any]:
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER

    return dg.MaterializeResult(
        data_version=dg.DataVersion(policy_hash(own.policy, own.policy / MERGED_FOLDER, own.policy / CARD_FILE)),
        metadata={
            "policy": card.policy_id,
            "parent": card.parent,
            **run_page(tracker, summary),
            **numbers(summary, "reward_mean", "true_return", "success", "spread"),
            "steps": summary["steps"],
            "resumed at rollout": summary["resumed_rollout"],
            **numbers(summary, "steps_per_second", "learning_share"),
            "seconds": summary["seconds"],
            "starts from": start,
            "weights": showing.path(own.policy / MERGED_FOLDER),
            "card": showing.path(own.policy / CARD_FILE),
            "log": showing.path(own.policy / LOG_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("training"),
    partitions_def=preference_iterations,
    deps=[reward_model, preference_base_policy, preference_input],
    code_version=code_version(*PPO_SOURCES),
    pool="gpu",
    description=(
        "The policy: PPO, paid by the learned reward alone. Later iterations go on from the policy they were opened "
        "on, where `loop.warm_start` says so.\n\n"
        "Runs as a process of its own, `flywheel train --program preference`, through Dagster Pipes; cut short, it "
        "goes on from its last checkpoint."
    ),
)
def reach_policy(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train, or go on with a training of the same things, and publish what came of it."""
    from hitl_ops.samples.preference_samples import read_preference_samples
    from hitl_ops.training.reward_data import preference_data, read_clips
    from hitl_ops.training.reward_folders import MODEL_FOLDER
    from hitl_ops.training.reward_training import read_reward_summary

    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = PreferencePaths(iteration)
        reward = paths.reward / MODEL_FOLDER
        if not reward.is_dir():
            raise UserError(f"there is no learned reward in '{paths.reward}'", "materialise reward_model first")
        start, parent = None, ""
        if iteration.iteration and chosen.loop.warm_start:
            parent = PREFERENCE_LOOP.parent_of(context.instance, iteration.key)
            start = store.open().policy(PROGRAM, parent)
            if not start.is_dir():
                raise UserError(
                    f"the weights of '{parent}' are gone ('{start}')", "restore them, or set loop.warm_start=false"
                )
        lesson = policy_lesson(iteration.policy, chosen.training_of(iteration.iteration), reward, start, parent)
        words, folders = read_preference_samples(paths.preferences)
        learned = read_reward_summary(paths.reward)
        data = preference_data(
            words, read_clips(folders), learned.config["validation_share"], learned.report.annotators
        )
        summary, card = _train(lesson, words, data, context, store.open(), iteration, launcher, tracker, progress)
    return _result(summary, card, iteration, tracker, card.parent or "first weights")


def control_of(own: IterationPaths) -> PolicyCard:
    """The card of an iteration's control.

    Raises:
        UserError: it has none.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, read_card

    if not (own.policy / CARD_FILE).is_file():
        raise UserError(
            f"iteration {own.key} has no control ('{own.policy}')",
            "materialise reach_control of that iteration first, or set control.enabled=false",
        )
    return read_card(own.policy)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("control"),
    partitions_def=preference_iterations,
    # Nothing of it comes from the policy; it is trained after it, and only where there is one to compare.
    deps=[reach_policy, preference_base_policy],
    code_version=code_version(*PPO_SOURCES),
    pool="gpu",
    description=(
        "What the policy is compared with: PPO with the same settings and as many steps an iteration, paid by the "
        "world's own reward, which nobody has to be asked for. It is trained on beside the policy and never set back: "
        "it goes on from the control of the iteration before, while after a refusal the policy goes on from an older "
        "one, and has had fewer steps from then on. It never serves.\n\n"
        "`control.enabled` says whether there is one."
    ),
)
def reach_control(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train the control, or go on with it."""
    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        if not chosen.control.enabled:
            progress.of_step(context)(1, 1, "left out")
            return dg.MaterializeResult(metadata={"control": "left out (control.enabled)"})
        own, start, parent = PreferencePaths(iteration).control, None, ""
        if iteration.iteration and chosen.loop.warm_start:
            before = PreferencePaths(store.iteration(PROGRAM, iteration_key(iteration.iteration - 1))).control
            start, parent = before.policy, control_of(before).policy_id
        lesson = policy_lesson(own.policy, chosen.training_of(iteration.iteration), None, start, parent)
        summary, card = _train(lesson, [], None, context, store.open(), own, launcher, tracker, progress)
    return _result(summary, card, own, tracker, card.parent or "first weights")
