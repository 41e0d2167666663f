"""The planner program's learning: all samples so far in one weighted set, the training on it, and the policy made.

A thin layer over ``hitl_ops.samples`` and ``hitl_ops.training``. Iteration 000 learns from a base model; a later one
from the policy it was opened on, or, where ``refinement.start`` says so, from the base again.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import made_from_of
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training, numbers, run_page
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner import distilled_samples, stage_tags
from hitl_assets.planner_corrections import expert_samples
from hitl_assets.planner_iterations import (
    GROUP,
    OWNERS,
    PLANNER_LOOP,
    PROGRAM,
    base_policy,
    human_input,
    planner_iterations,
)
from hitl_assets.planner_sessions import human_gold_samples
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import PlannerPreset
from hitl_assets.provenance import TRAINING_SOURCES, code_version, policy_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.training.train_config import TrainConfig
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

if TYPE_CHECKING:
    from hitl_ops.serving.lineage import Lineage


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    tags=stage_tags("samples"),
    partitions_def=planner_iterations,
    deps=[distilled_samples, human_gold_samples, expert_samples, human_input],
    code_version=code_version("contracts", "samples"),
    description=(
        "What is trained on: the samples of all iterations so far, each weighted by where it comes from.\n\n"
        "5 a correction, 1 a person's play, 0.5 the teacher (`refinement.mix`). A correction takes the place of what "
        "was recorded at its decision; people's samples of an iteration that the gate refused are left out of later "
        "sets."
    ),
)
def training_mix(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Join what there is."""
    from hitl_ops.samples.training_mix import build_training_mix, mix_path

    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        summary = build_training_mix(
            store.open(), PROGRAM, iteration.iteration, preset.resolve().refinement.mix, progress.of_step(context)
        )
    file, beside = mix_path(iteration), mix_path(iteration).with_suffix("")
    weights = summary.weight_by_source
    total = sum(weights.values()) or 1.0
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.manifest_hash),
        metadata={
            "samples": summary.samples,
            "episodes": summary.episodes,
            "what counts how much": showing.table(
                [
                    {
                        "source": source,
                        "samples": count,
                        "weight": round(weights.get(source, 0.0), 2),
                        "share of the weight": f"{weights.get(source, 0.0) / total:.1%}",
                    }
                    for source, count in summary.by_source.items()
                ]
                or [{"source": "none"}]
            ),
            "from": showing.table(
                [
                    {"iteration": key, **{source: counts.get(source, 0) for source in summary.by_source}}
                    for key, counts in summary.by_iteration.items()
                ]
                or [{"iteration": "none"}]
            ),
            **{f"{source} samples": count for source, count in summary.by_source.items()},
            "dropped": showing.counts(summary.dropped, of="reason"),
            "refused iterations left out": ", ".join(summary.refused) or "none",
            "made from": showing.table(
                [{"file": name, "manifest": digest} for name, digest in summary.inputs.items()] or [{"file": "none"}]
            ),
            "plots": showing.pictures(sorted((beside / "plots").glob("*.png"))),
            "file": showing.path(file),
            "data card": showing.path(beside / "data_card.md"),
        },
    )


@dataclass(frozen=True)
class Lessons:
    """How an iteration's policy is trained.

    Attributes:
        config: what the training is told.
        processes: processes that train together.
        parent: id of the policy it starts from; "" where it starts from a base model.
    """

    config: TrainConfig
    processes: int
    parent: str


def lessons_of(
    chosen: PlannerPreset, store: StoreResource, iteration: IterationPaths, instance: dg.DagsterInstance
) -> Lessons:
    """What the preset says about training in this iteration.

    Raises:
        UserError: a later iteration was never opened, or there is no policy for it to start from.
    """
    if iteration.iteration == 0:
        return Lessons(chosen.training.config, chosen.training.processes, "")
    section = chosen.refinement
    if section.start == "base":
        return Lessons(section.config, section.processes, "")
    parent = PLANNER_LOOP.parent_of(instance, iteration.key)
    from hitl_ops.models.planner_lm import MERGED_FOLDER

    weights = store.open().policy(PROGRAM, parent) / MERGED_FOLDER
    if not weights.is_dir():
        raise UserError(
            f"the weights of '{parent}' are gone ('{weights}')", "restore them, or set refinement.start=base"
        )
    return Lessons(section.config.replace(base=str(weights)), section.processes, parent)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "mlflow"},
    tags=stage_tags("training"),
    partitions_def=planner_iterations,
    deps=[training_mix, base_policy, human_input],
    code_version=code_version(*TRAINING_SOURCES),
    # One training at a time on an accelerator: the pool's limit is in dagster.yaml.
    pool="gpu",
    description=(
        "The student's lessons: supervised fine-tuning on the weighted samples, the loss on the action alone.\n\n"
        "Runs as a process of its own, `flywheel train`, through Dagster Pipes: it can be cancelled, goes on from its "
        "last checkpoint, and is the very command a person would type."
    ),
)
def planner_adapter(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train, or go on with a training of the same samples and configuration."""
    from hitl_ops.samples.parquet import read_manifest
    from hitl_ops.samples.training_mix import mix_path

    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        lessons = lessons_of(preset.resolve(), store, iteration, context.instance)
        samples, out = mix_path(iteration), iteration.policy
        summary = launch_training(
            context,
            Lesson(
                samples,
                out,
                lessons.config,
                {
                    "config": lessons.config.decisive(),
                    "processes": lessons.processes,
                    "samples": read_manifest(samples).hash,
                    "parent": lessons.parent,
                },
                lessons.processes,
            ),
            store.open(),
            iteration,
            launcher,
            tracker,
            progress.of_step(context),
        )
    trained = out / str(summary["trained"])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(policy_hash(out, trained)),
        metadata={
            **run_page(tracker, summary),
            **numbers(summary, "train_loss", "validation_loss", "best_validation_loss"),
            "steps": summary["steps"],
            "resumed at step": summary["resumed_step"],
            "samples": summary["train_samples"],
            "tokens per second": summary["sample_tokens_per_second"],
            "seconds": summary["seconds"],
            "starts from": lessons.parent or summary["base"],
            "method": summary["method"],
            "parameters": summary["parameters"],
            "trained parameters": summary["trained_parameters"],
            "loss": showing.pictures(sorted((out / "plots").glob("*.png"))),
            "weights": showing.path(trained),
            "log": showing.path(out / LOG_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("policy"),
    partitions_def=planner_iterations,
    deps=[planner_adapter, human_input],
    code_version=code_version(*TRAINING_SOURCES),
    description=(
        "The student: base model and adapter merged into one set of weights, with a card that names what made them."
        "\n\n"
        "The policy id on the card changes with every sample, every value of the configuration and the code. A page "
        "leads back to every sample, label, annotator, play and session that made it, as `flywheel lineage` does."
    ),
)
def planner_policy(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Merge what was trained into its base and write the policy card."""
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
    from hitl_ops.samples.parquet import read_manifest
    from hitl_ops.samples.training_mix import mix_path
    from hitl_ops.training.publish_policy import publish_policy
    from hitl_ops.training.sft import SUMMARY, TrainSummary

    told = progress.of_step(context)
    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = iteration.policy
        if not (folder / SUMMARY).is_file():
            raise UserError(f"there is no finished training in '{folder}'", "materialise planner_adapter first")
        trained = TrainSummary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))
        samples = mix_path(iteration)
        made_from = made_from_of(folder) or {}
        if made_from.get("samples") != read_manifest(samples).hash:
            raise UserError("the student was trained on other samples", "materialise planner_adapter first")
        policy = publish_policy(
            trained,
            samples,
            folder,
            program=PROGRAM,
            iteration=iteration.iteration,
            dtype=TrainConfig.model_validate(trained.config).base_dtype,
            code_version=code_version(*TRAINING_SOURCES),
            cache=store.open().cache,
            parent=str(made_from.get("parent") or "") or None,
        )
        card, merged = policy.card, policy.merged
        lineage, page = _lineage(store, card.policy_id, folder)
        told(1, 1, card.policy_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(policy_hash(folder, folder / MERGED_FOLDER, folder / CARD_FILE)),
        metadata={
            "policy": card.policy_id,
            "parent": card.parent,
            "parameters": merged.parameters,
            "method": merged.method,
            "largest difference of the merge": merged.max_logit_difference,
            "samples": showing.counts(card.sample_counts, of="source"),
            "samples' manifest": card.samples_hash,
            "prompts": card.prompt_style,
            "comes from": " ← ".join([step.policy_id for step in lineage.chain] + [lineage.base]),
            "people's minutes in it": round(lineage.human_seconds / 60, 2),
            "labels in it": len(lineage.labels),
            "plays in it": len(lineage.plays),
            "lineage": showing.path(page),
            "weights": showing.path(folder / MERGED_FOLDER),
            "card": showing.path(folder / CARD_FILE),
        },
    )


def _lineage(store: StoreResource, policy_id: str, folder: Path) -> "tuple[Lineage, Path]":
    """Everything the policy comes from, and the page that shows it."""
    from hitl_ops.serving.lineage import lineage_of
    from hitl_ops.serving.lineage_page import LINEAGE_FILE, write_lineage_page

    labels = store.labels()
    try:
        lineage = lineage_of(store.open(), labels, PROGRAM, policy_id)
    finally:
        if labels is not None:
            labels.close()
    return lineage, write_lineage_page(lineage, folder / LINEAGE_FILE)
