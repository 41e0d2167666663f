"""The preference program's labels and the reward that is learned from them.

A thin layer over ``hitl_ops.samples`` and ``hitl_ops.training``. What acts by the reward is in ``preference_policies``.
"""

# Annotations stay objects here; see `preference_clips`.

from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training, numbers
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_clips import clip_pairs
from hitl_assets.preference_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    PreferencePaths,
    preference_input,
    preference_iterations,
    stage_tags,
)
from hitl_assets.preference_versions import answered, words_up_to
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_assets.provenance import code_version, folder_hash, manifest_hash
from hitl_ops.contracts.errors import UserError
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

LABEL_SOURCES = (
    "contracts",
    "labels",
    "records/clips.py",
    "samples/preference_samples.py",
    "samples/preference_card.py",
)
REWARD_SOURCES = (
    "contracts",
    "models/reward_config.py",
    "models/reward_model.py",
    "training/preference_loss.py",
    "training/reliability.py",
    "training/reward.py",
    "training/reward_config.py",
    "training/reward_data.py",
    "training/reward_training.py",
)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sqlalchemy"},
    tags=stage_tags("labels"),
    partitions_def=preference_iterations,
    deps=[clip_pairs, preference_input],
    code_version=code_version(*LABEL_SOURCES),
    description=(
        "Everything people said of the pairs of this iteration and of those before it, joined with the clips they "
        "saw, with a data card: who said what, how fast, and whether they agree with themselves and each other.\n\n"
        "What teaches nothing is left out and counted; the labels themselves stay where they are."
    ),
)
def preference_labels(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Collect what stands, and join it with its clips."""
    from hitl_ops.records.clips import open_clip_set
    from hitl_ops.samples.preference_card import PLOT_FILE, write_preference_card
    from hitl_ops.samples.preference_samples import join_preferences, write_preference_samples

    told = progress.of_step(context)
    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = PreferencePaths(iteration)
        with store.opened_labels() as labels:
            words = words_up_to(labels, iteration.iteration)
        joined = join_preferences(
            words,
            lambda number: store.open().iteration(PROGRAM, number).clips,
            one_sided_count=not chosen.reward.weigh_annotators,
        )
        standing = answered(store.open(), words, chosen, iteration.iteration)
        if standing.missing:
            raise UserError(
                f"iteration {iteration.key} has {standing.told}",
                "let somebody else compare as well with `flywheel compare`, or lower labels.every"
                if standing.one_sided
                else "compare more with `flywheel compare`, or lower labels.every",
            )
        write_preference_samples(joined, paths.preferences)
        chosen_by = {
            pair.pair_id: pair.chosen_by for folder in joined.folders.values() for pair in open_clip_set(folder).pairs
        }
        card = write_preference_card(words, paths.preferences, joined.left_out, chosen_by)
        told(1, 1, f"{card.comparisons} comparisons")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([paths.preferences], relative_to=iteration.samples)),
        metadata={
            "comparisons": card.comparisons,
            "pairs of this iteration": standing.answers,
            "learned from": len(joined.words),
            "left out": showing.counts(card.left_out, of="why"),
            "what was said": showing.counts(card.choices, of="choice"),
            "by how pairs were chosen": showing.counts(card.by_chosen, of="by"),
            "people": showing.table(_people(card.annotators)),
            "human minutes": round(card.human_seconds / 60, 2),
            "picture": showing.pictures([iteration.samples / PLOT_FILE]),
            "preferences": showing.path(paths.preferences),
        },
    )


def _people(annotators: Any) -> list[dict[str, Any]]:
    return [
        {
            "person": name,
            "answers": one.answers,
            "left": "–" if one.left_share is None else f"{one.left_share:.0%}",
            "the same again": f"{one.repeats_alike} of {one.repeats}",
            "seconds an answer": round(one.seconds_per_answer, 2),
            "one side only": one.one_sided,
        }
        for name, one in annotators.items()
    ]


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("reward"),
    partitions_def=preference_iterations,
    deps=[preference_labels, preference_input],
    code_version=code_version(*REWARD_SOURCES),
    description=(
        "The reward: an ensemble of small networks that says what a step is worth, learned from all comparisons so "
        "far (Bradley and Terry's model; a tie teaches that both are worth the same).\n\n"
        "Runs as a process of its own, `flywheel train-reward`, through Dagster Pipes."
    ),
)
def reward_model(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Learn it anew from everything that stands."""
    from hitl_ops.training.reward_folders import MODEL_FOLDER, REPORT_FOLDER

    told = progress.of_step(context)
    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = PreferencePaths(iteration)
        made_from = {
            "config": chosen.reward.model_dump(mode="json"),
            "samples": manifest_hash([paths.preferences], relative_to=iteration.samples),
        }
        lesson = Lesson(paths.preferences, paths.reward, chosen.reward, made_from, verb="train-reward", tracked=None)
        summary = launch_training(context, lesson, store.open(), iteration, launcher, tracker, told)
    report = summary["report"]
    figures, truth = report["figures"], report["truth"] or {}
    model = paths.reward / MODEL_FOLDER
    return dg.MaterializeResult(
        data_version=dg.DataVersion(folder_hash(model)),
        metadata={
            **numbers(figures, "loss", "accuracy", "validation_loss", "validation_accuracy"),
            **numbers(report, "deviation", "disagreement"),
            **{f"truth: {name}": value for name, value in numbers(truth, *truth).items()},
            "comparisons": figures["comparisons"],
            "ties": figures["ties"],
            "held out": figures["held_out"],
            "left out": showing.counts(figures["left_out"], of="why"),
            "how much people count": showing.table(
                [{"person": name, "weight": round(weight, 3)} for name, weight in report["annotators"].items()]
            ),
            "networks": summary["members"],
            "seconds": summary["seconds"],
            "plots": showing.pictures(sorted((paths.reward / REPORT_FOLDER).glob("*.png"))),
            "weights": showing.path(model),
            "log": showing.path(paths.reward / LOG_FILE),
        },
    )
