"""What must hold of progress, labels, estimates, and of the policies that are told of them.

What is broken, or was learned from before it was to be judged, blocks what follows in the same run. That labels are
lopsided, or the estimator says little, is only said.
"""

# Annotations stay objects here; see `advantage_data`.

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from hitl_assets.advantage_data import (
    advantage_recordings,
    labeled_dataset,
    marked_dataset,
    new_dataset,
    progress_dataset,
)
from hitl_assets.advantage_estimation import advantage_dataset, advantage_estimator, estimated_dataset
from hitl_assets.advantage_iterations import PROGRAM, AdvantagePaths
from hitl_assets.advantage_policies import PROPER, awbc_evaluation, awbc_policy
from hitl_assets.advantage_presets import AdvantagePreset
from hitl_assets.findings import Findings, broken_files_noted
from hitl_assets.preset_choice import AdvantagePresetChoice
from resources.store import StoreResource

if TYPE_CHECKING:
    from hitl_ops.records.lerobot_overlay import Overlay
    from hitl_ops.records.lerobot_reading import LeRobotFolder


def _paths(context: dg.AssetCheckExecutionContext, store: StoreResource) -> AdvantagePaths:
    return AdvantagePaths(store.iteration(PROGRAM, context.partition_key))


def _laid_over(dataset: Path, overlay: Path) -> "tuple[LeRobotFolder, Overlay]":
    """A data set and an overlay of it, opened."""
    from hitl_ops.records.lerobot_overlay import open_overlay
    from hitl_ops.records.lerobot_reading import open_lerobot

    folder = open_lerobot(dataset)
    return folder, open_overlay(overlay, folder)


@dg.asset_check(
    asset=advantage_recordings, blocking=True, description="No episode is both marked and among those to be estimated."
)
def new_episodes_are_new(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the episodes of the two data sets, by their ids, or by their actions where they have none."""
    from hitl_ops.labels.episode_ids import episode_ids
    from hitl_ops.records.lerobot_reading import check_dataset, open_lerobot

    findings = Findings()
    with broken_files_noted(findings):
        chosen, paths = advantage_preset.resolve(), _paths(context, store)
        places = marked_dataset(chosen, paths), new_dataset(chosen, paths)
        ids = []
        for place in places:
            check_dataset(place)
            ids.append({name for _, name in episode_ids(open_lerobot(place))})
            findings.figures[f"episodes of {place.name}"] = len(ids[-1])
        if places[0].resolve() == places[1].resolve():
            findings.wrong.append("both data sets are the same one")
        elif shared := ids[0] & ids[1]:
            findings.wrong.append(f"{len(shared)} episodes are in both data sets, e.g. '{min(shared)}'")
    return findings.result()


@dg.asset_check(
    asset=progress_dataset, blocking=True, description="Progress is from 0 to 1, and falls nowhere it must not."
)
def progress_is_sound(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Read the columns; episodes that fall back are wrong where the preset says that none does."""
    from hitl_ops.records.lerobot_columns import episode_spans
    from hitl_ops.records.lerobot_overlay import read_column
    from hitl_ops.samples.progress import PROGRESS, STAGE_PROGRESS

    findings = Findings()
    with broken_files_noted(findings):
        chosen, paths = advantage_preset.resolve(), _paths(context, store)
        folder, overlay = _laid_over(marked_dataset(chosen, paths), paths.progress)
        spans = episode_spans(folder)
        for name in (PROGRESS, STAGE_PROGRESS):
            values = read_column(folder, name, [overlay])  # NaN is an error there
            if values.min() < 0 or values.max() > 1:
                findings.wrong.append(f"'{name}' goes from {values.min():g} to {values.max():g}")
            falling = [s.index for s in spans if (np.diff(values[s.start : s.start + s.length]) < 0).any()]
            findings.figures[f"episodes in which {name} falls"] = len(falling)
            if falling and chosen.progress.monotone:
                findings.wrong.append(f"'{name}' falls in episode {falling[0]}, and must not anywhere")
        if not values.any():
            findings.doubtful.append("no episode ever gets anywhere")
    return findings.result()


@dg.asset_check(asset=labeled_dataset, description="Every frame has a label there is; neither is nearly all.")
def labels_are_balanced(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Look at the labels of the marked episodes."""
    chosen, paths = advantage_preset.resolve(), _paths(context, store)
    return _label_findings(chosen, marked_dataset(chosen, paths), paths.labeled).result()


@dg.asset_check(asset=advantage_dataset, description="Every frame has a label there is; neither is nearly all.")
def estimated_labels_are_balanced(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Look at the labels of the new episodes."""
    chosen, paths = advantage_preset.resolve(), _paths(context, store)
    return _label_findings(chosen, new_dataset(chosen, paths), paths.advantage).result()


def _label_findings(chosen: AdvantagePreset, dataset: Path, labels: Path) -> Findings:
    from hitl_ops.contracts.advantage_prompt import style_of
    from hitl_ops.records.lerobot_overlay import read_column

    findings = Findings()
    with broken_files_noted(findings):
        folder, overlay = _laid_over(dataset, labels)
        tasks = overlay.tasks or {}
        found = read_column(folder, "task_index", [overlay])
        unknown = sorted(set(np.unique(found).tolist()) - set(tasks))
        if unknown:
            findings.wrong.append(f"label {unknown[0]} has no prompt")
            return findings
        style = style_of(list(tasks.values()))
        good = float(np.isin(found, [number for number, task in tasks.items() if style.level(task) > 0]).mean())
        findings.figures = {"frames": len(found), "share positive": round(good, 4)}
        limits = chosen.checks
        if not limits.least_share_positive <= good <= limits.largest_share_positive:
            findings.doubtful.append(f"{good:.0%} of the frames are labelled good; ties, or a threshold to look at")
    return findings


@dg.asset_check(asset=advantage_estimator, description="It says of held-out episodes what is true of them.")
def estimator_generalises(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the correlation on held-out episodes with ``checks``; episodes on both sides are wrong."""
    from hitl_ops.training.estimator_report import read_estimator_report

    findings = Findings()
    with broken_files_noted(findings):
        chosen = advantage_preset.resolve()
        if not chosen.estimator.validation_fraction:
            findings.doubtful.append("no episode was held out (estimator.validation_fraction)")
            return findings.result()
        report = read_estimator_report(_paths(context, store).estimator)
        correlation, least = report.advantage.pearson, chosen.checks.least_correlation
        findings.figures = {
            "held-out episodes": len(report.episodes),
            "correlation of advantages": "none" if correlation is None else round(correlation, 4),
        }
        if both := sorted({one.episode for one in report.episodes} & set(report.trained_on)):
            findings.wrong.append(f"episode {both[0]} was held out and learned from")
        if correlation is None or correlation < least:
            said = "is not defined" if correlation is None else f"is {correlation:.2f}"
            findings.doubtful.append(f"the correlation {said}; {least:g} is wanted")
    return findings.result()


@dg.asset_check(
    asset=estimated_dataset, blocking=True, description="Every frame has its estimates, all of them numbers."
)
def estimates_are_sound(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Read the columns; advantages lie from -1 to 1."""
    from hitl_ops.models.estimator_config import ABSOLUTE_ADVANTAGE, ABSOLUTE_VALUE, RELATIVE_ADVANTAGE
    from hitl_ops.records.lerobot_overlay import read_column

    findings = Findings()
    with broken_files_noted(findings):
        chosen, paths = advantage_preset.resolve(), _paths(context, store)
        folder, overlay = _laid_over(new_dataset(chosen, paths), paths.estimated)
        wanted = [ABSOLUTE_VALUE, ABSOLUTE_ADVANTAGE]
        if chosen.estimator.model.variant == "KAI0":
            wanted.append(RELATIVE_ADVANTAGE)
        for name in wanted:
            values = read_column(folder, name, [overlay])
            findings.figures[f"deviation of {name}"] = round(float(values.std()), 4)
            if name != ABSOLUTE_VALUE and np.abs(values).max() > 1:
                findings.wrong.append(f"'{name}' leaves -1 to 1")
            if not values.std():
                findings.doubtful.append(f"'{name}' is the same everywhere")
    return findings.result()


@dg.asset_check(asset=awbc_policy, blocking=True, description="It is asked in the very words that it was trained with.")
def asked_as_it_was_trained(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the policy's prompt with the labels' prompts."""
    from hitl_ops.models.robot_policy import load_robot_policy

    findings = Findings()
    with broken_files_noted(findings):
        chosen, paths = advantage_preset.resolve(), _paths(context, store)
        iteration = store.iteration(PROGRAM, context.partition_key)
        if PROPER not in chosen.policies.variants:
            return findings.result()
        _, labels = _laid_over(new_dataset(chosen, paths), paths.advantage)
        tasks = labels.tasks or {}
        prompt, best = load_robot_policy(iteration.policy).metadata.get("prompt"), tasks.get(max(tasks, default=-1))
        findings.figures = {"prompt": str(prompt)}
        if prompt != best:
            findings.wrong.append(f"it is asked with '{prompt}', its lessons said '{best}'")
    return findings.result()


@dg.asset_check(asset=awbc_evaluation, description="There are episodes enough to say something.")
def advantage_episodes_suffice(
    context: dg.AssetCheckExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the number of episodes with ``checks``."""
    from hitl_ops.evaluation.evaluate import read_evaluation

    findings = Findings()
    with broken_files_noted(findings):
        least = advantage_preset.resolve().checks.least_episodes
        _, scores = read_evaluation(store.iteration(PROGRAM, context.partition_key).evaluation)
        episodes = min(len(one) for one in scores.values())
        findings.figures = {"episodes": episodes, "policies": len(scores)}
        if episodes < least:
            findings.doubtful.append(f"{episodes} episodes; {least} are wanted")
    return findings.result()


ADVANTAGE_CHECKS = [
    new_episodes_are_new,
    progress_is_sound,
    labels_are_balanced,
    estimator_generalises,
    estimates_are_sound,
    estimated_labels_are_balanced,
    asked_as_it_was_trained,
    advantage_episodes_suffice,
]
