"""What must hold of the planner program's tasks and of what its teacher left before anybody learns from it.

Schema, leakage and emptiness block what follows in the same run: nothing is trained on data that is broken, empty or
seen in the examination.
"""

# Annotations stay objects here; see `planner`.

import dagster as dg

from hitl_assets import showing
from hitl_assets.findings import (
    Findings,
    broken_files_noted,
    sample_card_findings,
    sample_file_findings,
    sample_leakage_findings,
)
from hitl_assets.planner import TEACHER, distilled_samples, household_episodes, teacher_rollouts
from hitl_assets.planner_iterations import PROGRAM
from hitl_assets.preset_choice import PresetChoice
from resources.store import StoreResource


@dg.asset_check(asset=household_episodes, blocking=True, description="Every episode file reads as PARTNR's schema.")
def episodes_schema(preset: PresetChoice, store: StoreResource) -> dg.AssetCheckResult:
    """Read back every split and compare its size with the preset's."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.rollouts.episode_sets import SPLITS, episode_file

    findings = Findings()
    wanted = preset.resolve().episodes
    for split in SPLITS:
        with broken_files_noted(findings):
            episodes = read_episodes(episode_file(store.open().episodes, split))
            findings.figures[split] = len(episodes)
            if len(episodes) != getattr(wanted, split):
                findings.wrong.append(f"{split} has {len(episodes)} episodes, the preset {getattr(wanted, split)}")
            goalless = [episode.episode_id for episode in episodes if not episode.evaluation_propositions]
            if goalless:
                findings.wrong.append(f"{len(goalless)} episodes of {split} have no goal, e.g. {goalless[0]}")
            strayed = [episode.episode_id for episode in episodes if episode.split != split]
            if strayed:
                findings.wrong.append(f"{split} holds episodes of another split, e.g. {strayed[0]}")
    return findings.result()


@dg.asset_check(
    asset=household_episodes, blocking=True, description="No two splits share an episode, a home or a seed."
)
def episodes_leakage(store: StoreResource) -> dg.AssetCheckResult:
    """Compare the splits pair by pair."""
    from hitl_ops.rollouts.episode_sets import SPLITS, episode_file
    from hitl_ops.samples.leakage import check_leakage

    findings = Findings()
    with broken_files_noted(findings):
        folder = store.open().episodes
        report = check_leakage({split: episode_file(folder, split) for split in SPLITS})
        findings.figures["contents"] = showing.table(
            [
                {"split": split, **{f"{kind}s": count for kind, count in held.items()}}
                for split, held in report.counts.items()
            ]
        )
        if not report.clean:
            findings.wrong.append(report.explain())
    return findings.result()


@dg.asset_check(asset=teacher_rollouts, blocking=True, description="Every trace reads back whole, decisions included.")
def rollouts_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read every trace; each decision must name an action that was admissible."""
    from hitl_ops.records.traces import read_traces

    findings = Findings()
    traces = decisions = inadmissible = crashed = 0
    with broken_files_noted(findings):
        for trace in read_traces(store.iteration(PROGRAM, context.partition_key).rollouts / TEACHER / "traces"):
            traces += 1
            decisions += len(trace.decisions)
            crashed += trace.result.ended_by == "error"
            inadmissible += sum(decision.action not in decision.admissible for decision in trace.decisions)
    if inadmissible:
        findings.wrong.append(f"{inadmissible} decisions name an action that was not admissible")
    if crashed:
        findings.wrong.append(f"{crashed} episodes crashed")
    findings.figures = {"traces": traces, "decisions": decisions, "inadmissible": inadmissible, "crashed": crashed}
    return findings.result()


@dg.asset_check(
    asset=teacher_rollouts, blocking=True, description="The teacher succeeds often enough to be worth learning from."
)
def teacher_is_worth_learning_from(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the teacher's success with ``checks.least_teacher_success``."""
    from hitl_ops.records.traces import read_traces

    findings = Findings()
    least = preset.resolve().checks.least_teacher_success
    with broken_files_noted(findings):
        folder = store.iteration(PROGRAM, context.partition_key).rollouts / TEACHER / "traces"
        results = [trace.result.success for trace in read_traces(folder)]
        success = sum(results) / max(1, len(results))
        findings.figures = {"success": success, "least": least, "episodes": len(results)}
        if not any(results):
            findings.wrong.append(f"none of {len(results)} episodes succeeded")
        elif success < least:
            findings.wrong.append(f"the teacher succeeds in {success:.0%} of the episodes, least is {least:.0%}")
    return findings.result()


@dg.asset_check(asset=distilled_samples, blocking=True, description="Every row is a sample, and the manifest matches.")
def samples_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read every row as a sample and compare the manifest's hash with the rows'."""
    return sample_file_findings(store.iteration(PROGRAM, context.partition_key).samples / "distilled.parquet").result()


@dg.asset_check(
    asset=distilled_samples,
    blocking=True,
    additional_deps=[household_episodes],
    description="No sample comes from an episode or a home of the examination.",
)
def samples_leakage(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the samples' episodes and homes with those of validation and test."""
    samples = store.iteration(PROGRAM, context.partition_key).samples / "distilled.parquet"
    return sample_leakage_findings(samples, store.open().episodes).result()


@dg.asset_check(
    asset=distilled_samples, blocking=True, description="There are enough samples, and they teach more than one thing."
)
def samples_degenerate(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the data card with ``checks.least_samples`` and ``checks.largest_tool_share``."""
    limits = preset.resolve().checks
    folder = store.iteration(PROGRAM, context.partition_key).samples
    findings = sample_card_findings(
        folder / "data_card.json",
        folder / "distilled.parquet",
        least=limits.least_samples,
        largest_tool_share=limits.largest_tool_share,
    )
    return findings.result()


PLANNER_CHECKS = [
    episodes_schema,
    episodes_leakage,
    rollouts_schema,
    teacher_is_worth_learning_from,
    samples_schema,
    samples_leakage,
    samples_degenerate,
]
