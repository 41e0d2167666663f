"""The planner program's beginning: tasks, a teacher that plays them, and samples of what it did.

Like its neighbours it holds assets alone, each a thin layer over one step of ``hitl_ops``: it finds the folders, calls
the step and says what came out. What people add is in ``planner_sessions`` and ``planner_corrections``, what is
learned from both in ``planner_training``, what must hold of the results in ``planner_checks``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import claim
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_iterations import GROUP, OWNERS, PROGRAM, planner_iterations
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from resources.progress import ProgressListener
from resources.store import StoreResource

TEACHER = "teacher"
HOUSEHOLD_SOURCES = ("contracts", "worlds/household", "worlds/habitat", "experts/oracle.py", "rollouts")
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
        config = preset.resolve().played_rollouts
        out = store.iteration(PROGRAM, context.partition_key).rollouts / TEACHER
        episodes = read_episodes(episode_file(store.open().episodes, "train"))
        claim(
            out,
            {
                "rollout": config.told(),
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
