"""What must hold of people's plays and of the samples out of them.

Broken records, plays that nobody solved, leakage and emptiness block what follows in the same run; that there are
fewer plays than asked for, or that people rarely succeed, is only said.
"""

# Annotations stay objects here; see `planner`.

import dagster as dg

from hitl_assets.findings import (
    Findings,
    broken_files_noted,
    sample_card_findings,
    sample_file_findings,
    sample_leakage_findings,
)
from hitl_assets.planner import household_episodes
from hitl_assets.planner_iterations import PROGRAM
from hitl_assets.planner_sessions import HUMAN_GOLD, human_gold_samples, session_logs, session_scores
from hitl_assets.preset_choice import PresetChoice
from resources.store import StoreResource


@dg.asset_check(
    asset=session_logs, blocking=True, description="Every finished play has a whole record that fits the label store."
)
def session_records(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Warn of any broken play; more than ``checks.largest_broken_share`` of them is an error."""
    from hitl_ops.samples.collected_plays import read_play_manifest

    findings = Findings()
    most = preset.resolve().checks.largest_broken_share
    with broken_files_noted(findings):
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        manifest = read_play_manifest(sessions)
        total = len(manifest.plays) + len(manifest.broken)
        findings.figures = {"plays": len(manifest.plays), "broken": len(manifest.broken), "largest share": most}
        gone = [file for play in manifest.plays for file in play.files if not (sessions / file).is_file()]
        if gone:
            findings.wrong.append(f"{len(gone)} files have gone since the plays were listed, e.g. '{gone[0]}'")
        if manifest.broken:
            said = f"{len(manifest.broken)} of {total} plays are broken, e.g. {manifest.broken[0].reason}"
            (findings.wrong if len(manifest.broken) > most * total else findings.doubtful).append(said)
        if not total:
            findings.wrong.append("nobody has finished a play")
    return findings.result()


@dg.asset_check(asset=session_logs, description="People have played as much as `collection.target` asks for.")
def enough_plays(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the number of sound plays with the target."""
    from hitl_ops.samples.collected_plays import read_play_manifest

    findings = Findings()
    target = preset.resolve().collection.target
    with broken_files_noted(findings):
        plays = len(read_play_manifest(store.iteration(PROGRAM, context.partition_key).sessions).plays)
        findings.figures = {"plays": plays, "target": target}
        if plays < target:
            findings.doubtful.append(f"{plays} plays have a sound record, the target is {target}")
    return findings.result()


@dg.asset_check(
    asset=session_scores, blocking=True, description="Every row is a score, and each listed play has one row."
)
def scores_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read the scores back and compare them with the list of plays and with the summary."""
    from hitl_ops.samples.collected_plays import read_play_manifest
    from hitl_ops.samples.play_scores import Group, read_score_summary, read_scores

    findings = Findings()
    with broken_files_noted(findings):
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        manifest, summary = read_play_manifest(sessions), read_score_summary(sessions)
        scores, made_from = read_scores(sessions)
        findings.figures = {"scores": len(scores), "plays": len(manifest.plays)}
        if {made_from, summary.plays_hash} != {manifest.hash}:
            findings.wrong.append("the scores are of another list of plays")
        if [score.play_id for score in scores] != [play.play_id for play in manifest.plays]:
            findings.wrong.append("the scores are not those of the listed plays, one each")
        if Group.of(scores) != summary.total:
            findings.wrong.append("the summary is not that of the rows")
    return findings.result()


@dg.asset_check(
    asset=session_scores, blocking=True, description="People succeed, and often enough to be worth learning from."
)
def people_succeed(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Warn below ``checks.least_human_success``; no success at all is an error."""
    from hitl_ops.samples.play_scores import read_score_summary

    findings = Findings()
    least = preset.resolve().checks.least_human_success
    with broken_files_noted(findings):
        total = read_score_summary(store.iteration(PROGRAM, context.partition_key).sessions).total
        findings.figures = {"success": total.success, "least": least, "plays": total.plays}
        if not total.successes:
            findings.wrong.append(f"none of {total.plays} plays succeeded")
        elif total.success < least:
            findings.doubtful.append(f"people succeed in {total.success:.0%} of their plays, least is {least:.0%}")
    return findings.result()


@dg.asset_check(asset=human_gold_samples, blocking=True, description="Every row is a sample, and the manifest matches.")
def human_gold_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read every row as a sample and compare the manifest's hash with the rows'."""
    return sample_file_findings(
        store.iteration(PROGRAM, context.partition_key).samples / f"{HUMAN_GOLD}.parquet"
    ).result()


@dg.asset_check(
    asset=human_gold_samples,
    blocking=True,
    additional_deps=[household_episodes],
    description="No sample comes from an episode or a home of the examination.",
)
def human_gold_leakage(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the samples' episodes and homes with those of validation and test."""
    samples = store.iteration(PROGRAM, context.partition_key).samples / f"{HUMAN_GOLD}.parquet"
    return sample_leakage_findings(samples, store.open().episodes).result()


@dg.asset_check(
    asset=human_gold_samples, blocking=True, description="There are enough samples, and they teach more than one thing."
)
def human_gold_degenerate(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the data card with ``checks.least_human_samples`` and ``checks.largest_tool_share``."""
    limits = preset.resolve().checks
    folder = store.iteration(PROGRAM, context.partition_key).samples
    findings = sample_card_findings(
        folder / HUMAN_GOLD / "data_card.json",
        folder / f"{HUMAN_GOLD}.parquet",
        least=limits.least_human_samples,
        largest_tool_share=limits.largest_tool_share,
        # A few people's plays are soon lopsided; they are not taught alone.
        warnings_stop=False,
    )
    return findings.result()


SESSION_CHECKS = [
    session_records,
    enough_plays,
    scores_schema,
    people_succeed,
    human_gold_schema,
    human_gold_leakage,
    human_gold_degenerate,
]
