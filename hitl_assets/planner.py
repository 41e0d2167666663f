"""The planner program: a teacher plays household tasks, a student learns from it and is examined in unseen homes.

Holds the assets alone, each a thin layer over one step of ``hitl_ops``: it finds the folders, calls the step and says
what came out. What must hold of the results is in ``planner_checks``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import claim, made_from_of
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_iterations import GROUP, OWNERS, PROGRAM, base_policy, planner_iterations
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.provenance import TRAINING_SOURCES, code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

TEACHER = "teacher"
STUDENT = "student"

HOUSEHOLD_SOURCES = ("contracts", "worlds/household", "experts/oracle.py", "rollouts")
_SAMPLES = ("contracts", "records", "samples")


def stage_tags(name: str) -> dict[str, str]:
    """Tags that name the program and one of its stages."""
    return {"flywheel/program": PROGRAM, "flywheel/stage": name}


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    tags=stage_tags("episodes"),
    code_version=code_version(*HOUSEHOLD_SOURCES),
    description=(
        "The tasks: household episodes for training, validation and test, in homes that no two splits share.\n\n"
        "Each is one of PARTNR's four task types with an instruction in natural language, is proved solvable by the "
        "oracle, and is written in PARTNR's episode schema. Shared by all iterations."
    ),
)
def household_episodes(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Generate what is missing of the episode sets."""
    from hitl_ops.rollouts.episode_sets import SPLITS, episode_file, generate_episode_sets

    with mistakes_named():
        folder = store.open().episodes
        summary = generate_episode_sets(preset.resolve().episodes, folder, progress.of_step(context))
    kinds = sorted({kind for counts in summary.task_types.values() for kind in counts})
    rows = [
        {
            "split": split,
            "episodes": summary.counts[split],
            "homes": len(summary.homes[split]),
            **{kind.replace("_", " "): summary.task_types[split].get(kind, 0) for kind in kinds},
        }
        for split in summary.counts
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([episode_file(folder, split) for split in SPLITS], relative_to=folder)
        ),
        metadata={
            "episodes": sum(summary.counts.values()),
            "splits": showing.table(rows),
            "folder": showing.path(folder),
            "generator": summary.generator,
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    tags=stage_tags("rollouts"),
    partitions_def=planner_iterations,
    deps=[household_episodes],
    code_version=code_version(*HOUSEHOLD_SOURCES, "experts", "records"),
    # What a rerun costs is only what was not finished; what can be mended by hand is never tried again by itself.
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    description=(
        "The teacher at work: it plays every training episode, and every decision of both agents is logged with the "
        "prompt, the admissible actions and the world's answer.\n\n"
        "Who teaches is the preset's `rollouts.planner`: the oracle, a language model behind an OpenAI-compatible "
        "endpoint, or a local one."
    ),
)
def teacher_rollouts(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let the teacher play the training episodes that it has not played yet."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.records.traces import list_traces
    from hitl_ops.rollouts.episode_sets import GENERATOR_VERSION, episode_file
    from hitl_ops.rollouts.run import run_rollouts

    with mistakes_named():
        config = preset.resolve().rollouts
        out = store.iteration(PROGRAM, context.partition_key).rollouts / TEACHER
        episodes = read_episodes(episode_file(store.open().episodes, "train"))
        claim(
            out,
            {
                "rollout": config.model_dump(mode="json", exclude={"processes", "max_episodes"}),
                "generator": GENERATOR_VERSION,
            },
        )
        summary = run_rollouts(episodes, config, out, progress.of_step(context))
        traces = list_traces(out / "traces")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(traces, relative_to=out)),
        metadata={
            "success": round(summary.success, 4),
            "percent complete": round(summary.percent_complete, 4),
            "episodes": summary.episodes,
            "played now": summary.played_now,
            "decisions": summary.decisions,
            "simulation steps per episode": round(summary.sim_steps, 1),
            "crashed": len(summary.crashed),
            "stopped by budget": summary.stopped_by_budget or "no",
            "teacher": summary.policy_id,
            "seconds": round(summary.seconds, 1),
            "folder": showing.path(out),
            "a decision": _first_decision(traces[0]),
        },
    )


def _first_decision(trace_file: Path) -> dg.MetadataValue:
    """A decision as the student will see it: prompt and answer."""
    from hitl_ops.records.traces import read_trace

    trace = read_trace(trace_file)
    if not trace.decisions:
        return dg.MetadataValue.md("no decision")
    decision = trace.decisions[-1]
    return dg.MetadataValue.md(
        f"**{trace.header.instruction}** ({trace.header.episode_id}, agent {decision.agent})\n\n"
        f"```\n{decision.prompt}{decision.action}\n```"
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    tags=stage_tags("samples"),
    partitions_def=planner_iterations,
    deps=[teacher_rollouts, household_episodes],
    code_version=code_version(*_SAMPLES),
    description=(
        "The lessons: prompts and the teacher's actions, one row a decision, with weight and provenance.\n\n"
        "Episodes below `samples.percent_cut` or no longer among the training episodes are left out, and so are "
        "decisions that failed. A data card and PARTNR's `sample_*.txt` layout lie beside the Parquet file."
    ),
)
def distilled_samples(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Cut samples out of the teacher's traces."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.rollouts.episode_sets import episode_file
    from hitl_ops.samples.build import build_samples
    from hitl_ops.samples.data_card import write_data_card
    from hitl_ops.samples.export_text import export_sample_texts

    with mistakes_named():
        chosen = preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        file = iteration.samples / "distilled.parquet"
        config = chosen.samples.replace(iteration=iteration.iteration, prompt_style=chosen.rollouts.prompt_style)
        summary = build_samples(
            iteration.rollouts / TEACHER / "traces",
            config,
            file,
            progress.of_step(context),
            expected={episode.episode_id for episode in read_episodes(episode_file(store.open().episodes, "train"))},
        )
        card = write_data_card(file, iteration.samples)
        texts = export_sample_texts(file, iteration.samples / "text") if chosen.training.export_texts else 0
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.manifest_hash),
        metadata={
            "samples": summary.samples,
            "episodes": summary.episodes_kept,
            "episodes cut": summary.episodes_cut,
            "episodes not expected": summary.episodes_not_expected,
            "weight": summary.weight,
            "actions": showing.counts(card.actions, of="action"),
            "task types": showing.counts(card.by_task_type, of="task type"),
            "dropped": showing.counts(summary.dropped, of="reason"),
            "prompt length": f"{card.prompt_length.mean:.0f} {card.token_unit} (95 %: {card.prompt_length.p95:.0f})",
            "prompts that teach more than one action": card.contradictions,
            "warnings": "; ".join(card.warnings) or "none",
            "plots": showing.pictures(sorted((iteration.samples / "plots").glob("*.png"))),
            "file": showing.path(file),
            "data card": showing.path(iteration.samples / "data_card.md"),
            "texts": texts,
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "mlflow"},
    tags=stage_tags("training"),
    partitions_def=planner_iterations,
    deps=[distilled_samples, base_policy],
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
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.samples.parquet import read_manifest

    with mistakes_named():
        section = preset.resolve().training
        iteration = store.iteration(PROGRAM, context.partition_key)
        samples, out = iteration.samples / "distilled.parquet", iteration.policy
        resumed = claim(
            out,
            {
                "config": section.config.decisive(),
                "processes": section.processes,
                "samples": read_manifest(samples).hash,
            },
        )
        context.log.info("going on where the last run stopped" if resumed else "starting anew")
        # JSON is YAML: the verb reads it like a file written by hand.
        publish_json(out / "config.yaml", section.config)
        summary = launcher.launch(
            context,
            [
                "train",
                *("--samples", str(samples), "--out", str(out), "--config", str(out / "config.yaml")),
                *tracker.arguments(PROGRAM, context.partition_key, context.run.run_id),
            ],
            log=out / "train.log",
            progress=progress.of_step(context),
            processes=section.processes,
            environment={"FLYWHEEL_HOME": str(store.open().root)},
        )
    trained = out / str(summary["trained"])
    weights = sorted(trained.glob("*.safetensors"))
    page = (
        {"MLflow": dg.MetadataValue.url(tracker.run_page(summary["mlflow_experiment_id"], summary["mlflow_run_id"]))}
        if summary.get("mlflow_run_id")
        else {}
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(weights, relative_to=out)),
        metadata={
            **page,
            **_numbers(summary, "train_loss", "validation_loss", "best_validation_loss"),
            "steps": summary["steps"],
            "resumed at step": summary["resumed_step"],
            "samples": summary["train_samples"],
            "tokens per second": summary["sample_tokens_per_second"],
            "seconds": summary["seconds"],
            "base": summary["base"],
            "method": summary["method"],
            "parameters": summary["parameters"],
            "trained parameters": summary["trained_parameters"],
            "loss": showing.pictures(sorted((out / "plots").glob("*.png"))),
            "weights": showing.path(trained),
            "log": showing.path(out / "train.log"),
        },
    )


def _numbers(summary: dict[str, Any], *names: str) -> dict[str, float]:
    """Those of the figures that there are; Dagster draws them across materialisations."""
    return {name.replace("_", " "): float(summary[name]) for name in names if summary.get(name) is not None}


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("policy"),
    partitions_def=planner_iterations,
    deps=[planner_adapter],
    code_version=code_version(*TRAINING_SOURCES),
    description=(
        "The student: base model and adapter merged into one set of weights, with a card that names what made them."
        "\n\n"
        "The policy id on the card changes with every sample, every value of the configuration and the code."
    ),
)
def planner_policy(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Merge what was trained into its base and write the policy card."""
    from hitl_ops.models.planner_lm import CARD_FILE, MERGED_FOLDER
    from hitl_ops.samples.parquet import read_manifest
    from hitl_ops.training.publish_policy import publish_policy
    from hitl_ops.training.sft import SUMMARY, TrainSummary

    told = progress.of_step(context)
    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = iteration.policy
        if not (folder / SUMMARY).is_file():
            raise UserError(f"there is no finished training in '{folder}'", "materialise planner_adapter first")
        trained = TrainSummary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))
        samples = iteration.samples / "distilled.parquet"
        if (made_from_of(folder) or {}).get("samples") != read_manifest(samples).hash:
            raise UserError("the student was trained on other samples", "materialise planner_adapter first")
        policy = publish_policy(
            trained,
            samples,
            folder,
            program=PROGRAM,
            iteration=iteration.iteration,
            dtype=preset.resolve().training.config.base_dtype,
            code_version=code_version(*TRAINING_SOURCES),
            cache=store.open().cache,
        )
        card, merged = policy.card, policy.merged
        told(1, 1, card.policy_id)
    weights = sorted((folder / MERGED_FOLDER).glob("*.safetensors"))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([*weights, folder / CARD_FILE], relative_to=folder)),
        metadata={
            "policy": card.policy_id,
            "parent": card.parent,
            "parameters": merged.parameters,
            "method": merged.method,
            "largest difference of the merge": merged.max_logit_difference,
            "samples": showing.counts(card.sample_counts, of="source"),
            "samples' manifest": card.samples_hash,
            "prompts": card.prompt_style,
            "weights": showing.path(folder / MERGED_FOLDER),
            "card": showing.path(folder / CARD_FILE),
        },
    )
