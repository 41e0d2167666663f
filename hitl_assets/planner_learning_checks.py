"""What must hold of corrections, of the training set, and of the policy that was learned from it.

Broken, leaked or wrongly weighted samples block what follows in the same run. Of a policy it is said how good it is;
whether it may serve is the gate's to decide, and that decision blocks nothing.
"""

# Annotations stay objects here; see `planner`.

import dagster as dg

from hitl_assets.findings import (
    Findings,
    broken_files_noted,
    sample_card_findings,
    sample_file_findings,
    sample_leakage_findings,
    training_findings,
)
from hitl_assets.planner import household_episodes
from hitl_assets.planner_corrections import EXPERT, annotation_queue, expert_samples, session_videos
from hitl_assets.planner_examination import planner_evaluation
from hitl_assets.planner_iterations import PROGRAM
from hitl_assets.planner_promotion import planner_promotion
from hitl_assets.planner_training import planner_adapter, training_mix
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.promotion_result import gate_findings
from resources.store import StoreResource


@dg.asset_check(asset=annotation_queue, blocking=True, description="Every listed play waits in the queue, once.")
def queue_is_complete(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the queue with the list of plays."""
    from hitl_ops.samples.annotation_queue import read_annotation_queue
    from hitl_ops.samples.collected_plays import read_play_manifest

    findings = Findings()
    with broken_files_noted(findings):
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        listed = {play.play_id for play in read_play_manifest(sessions).plays}
        queued = [play.play_id for play in read_annotation_queue(sessions)]
        findings.figures = {"plays": len(listed), "queued": len(queued)}
        if len(set(queued)) != len(queued):
            findings.wrong.append("a play waits twice")
        if listed != set(queued):
            findings.wrong.append(f"{len(listed ^ set(queued))} plays are listed or queued, but not both")
    return findings.result()


@dg.asset_check(asset=session_videos, description="Every play that was to be filmed has a video.")
def plays_are_filmed(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Warn of plays that could not be filmed, and of films that have gone."""
    from hitl_ops.evaluation.session_videos import read_session_videos

    findings = Findings()
    with broken_files_noted(findings):
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        found = read_session_videos(sessions)
        findings.figures = {"videos": len(found.videos), "not filmed": len(found.unfilmed)}
        if found.unfilmed:
            findings.doubtful.append(f"{len(found.unfilmed)} plays have no video, e.g. {found.unfilmed[0].reason}")
        gone = [video.video for video in found.videos if not (sessions / video.video).is_file()]
        if gone:
            findings.doubtful.append(f"{len(gone)} videos have gone, e.g. '{gone[0]}'")
    return findings.result()


@dg.asset_check(asset=expert_samples, blocking=True, description="Every row is a sample, and the manifest matches.")
def expert_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read every row as a sample, compare the manifest's hash with the rows', and each with the label that made it."""
    from hitl_ops.contracts.correction import split_label_ids
    from hitl_ops.samples.parquet import read_samples

    file = store.iteration(PROGRAM, context.partition_key).samples / f"{EXPERT}.parquet"
    findings = sample_file_findings(file)
    with broken_files_noted(findings):
        unlabelled = [sample.sample_id for sample in read_samples(file) if not split_label_ids(sample.label_id)]
        if unlabelled:
            findings.wrong.append(f"{len(unlabelled)} samples name no label, e.g. {unlabelled[0]}")
    return findings.result()


@dg.asset_check(
    asset=expert_samples,
    blocking=True,
    additional_deps=[household_episodes],
    description="No sample comes from an episode or a home of the examination.",
)
def expert_leakage(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the samples' episodes and homes with those of validation and test."""
    samples = store.iteration(PROGRAM, context.partition_key).samples / f"{EXPERT}.parquet"
    return sample_leakage_findings(samples, store.open().episodes).result()


@dg.asset_check(asset=expert_samples, description="What annotators corrected can nearly all be taught.")
def corrections_are_taught(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Warn where many corrections fit no prompt any more, or annotators are divided about them."""
    import json

    from hitl_ops.samples.parquet import read_manifest

    findings = Findings()
    most = preset.resolve().checks.largest_dropped_share
    with broken_files_noted(findings):
        samples = store.iteration(PROGRAM, context.partition_key).samples
        taught = read_manifest(samples / f"{EXPERT}.parquet").samples
        left = json.loads((samples / EXPERT / "left_out.json").read_text(encoding="utf-8"))
        findings.figures = {"taught": taught, "left out": len(left), "largest share": most}
        if left and len(left) > most * (taught + len(left)):
            findings.doubtful.append(f"{len(left)} of {taught + len(left)} are left out, e.g. {left[0]['reason']}")
    return findings.result()


@dg.asset_check(asset=training_mix, blocking=True, description="Every row is a sample, and the manifest matches.")
def mix_schema(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Read every row as a sample and compare the manifest's hash with the rows'."""
    from hitl_ops.samples.training_mix import mix_path

    return sample_file_findings(mix_path(store.iteration(PROGRAM, context.partition_key))).result()


@dg.asset_check(
    asset=training_mix,
    blocking=True,
    additional_deps=[household_episodes],
    description="No sample comes from an episode or a home of the examination.",
)
def mix_leakage(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Compare the samples' episodes and homes with those of validation and test."""
    from hitl_ops.samples.training_mix import mix_path

    samples = mix_path(store.iteration(PROGRAM, context.partition_key))
    return sample_leakage_findings(samples, store.open().episodes).result()


@dg.asset_check(
    asset=training_mix, blocking=True, description="There are enough samples, and they teach more than one thing."
)
def mix_degenerate(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the data card with ``checks.least_samples`` and ``checks.largest_tool_share``."""
    from hitl_ops.samples.training_mix import mix_path

    limits = preset.resolve().checks
    file = mix_path(store.iteration(PROGRAM, context.partition_key))
    findings = sample_card_findings(
        file.with_suffix("") / "data_card.json",
        file,
        least=limits.least_samples,
        largest_tool_share=limits.largest_tool_share,
        # The parts were looked at one by one; joined they repeat each other.
        warnings_stop=False,
    )
    return findings.result()


@dg.asset_check(asset=training_mix, blocking=True, description="Every sample weighs what its source is to weigh.")
def mix_weights(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare every row's weight with ``refinement.mix``, and its iteration with this one."""
    from hitl_ops.samples.parquet import sample_batches
    from hitl_ops.samples.training_mix import mix_path

    findings = Findings()
    mix = preset.resolve().refinement.mix
    iteration = store.iteration(PROGRAM, context.partition_key)
    wrong: dict[str, int] = {}
    later = 0
    with broken_files_noted(findings):
        for batch in sample_batches(mix_path(iteration), ["source", "weight", "iteration"]):
            for row in batch.to_pylist():
                if row["weight"] != mix.weight_of(row["source"]):
                    wrong[row["source"]] = wrong.get(row["source"], 0) + 1
                later += row["iteration"] > iteration.iteration
    findings.figures = {"expert": mix.expert, "human_gold": mix.human_gold, "distilled": mix.distilled}
    findings.wrong += [f"{count} samples of {source} weigh something else" for source, count in wrong.items()]
    if later:
        findings.wrong.append(f"{later} samples are of a later iteration")
    return findings.result()


@dg.asset_check(
    asset=planner_adapter, blocking=True, description="The loss is a number and ended below where it began."
)
def training_learned(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look at the training log's first and last losses."""
    findings, severity = training_findings(store.iteration(PROGRAM, context.partition_key).policy / "train_log.jsonl")
    return findings.result(severity)


@dg.asset_check(
    asset=planner_evaluation,
    description="The student's success over the teacher's reaches `checks.gate_ratio` on the primary split.",
)
def evaluation_gate(
    context: dg.AssetCheckExecutionContext, preset: PresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the ratio with the gate; ``checks.gate_severity`` says how loudly a miss is told."""
    from hitl_ops.evaluation.evaluate import read_evaluation

    findings = Findings()
    limits = preset.resolve().checks
    with broken_files_noted(findings):
        summary, _ = read_evaluation(store.iteration(PROGRAM, context.partition_key).evaluation)
        figures = summary.figures()
        ratio = figures["student_over_teacher"]
        findings.figures = {
            name: value
            for name, value in figures.items()
            if isinstance(value, int | float)
            and name.startswith(("student.success", "teacher.success", "student_over"))
        }
        findings.figures["gate"] = limits.gate_ratio
        if not figures["student.success"]:
            findings.wrong.append("the student succeeded in no episode")
        elif ratio is None:
            findings.wrong.append("the teacher succeeded in no episode, so there is nothing to compare with")
        elif ratio < limits.gate_ratio:
            findings.wrong.append(f"student over teacher is {ratio:.2f}, the gate is {limits.gate_ratio:.2f}")
    return findings.result(dg.AssetCheckSeverity(limits.gate_severity))


@dg.asset_check(asset=planner_promotion, description="The student passed the gate, and serves.")
def gate_passed(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Say whether the gate let the student serve; a refusal is worth a look, and no error."""
    return gate_findings(store.iteration(PROGRAM, context.partition_key).evaluation).result()


@dg.asset_check(asset=planner_promotion, description="What serves is whole, and has been evaluated.")
def what_serves_is_sound(store: StoreResource) -> dg.AssetCheckResult:
    """Look at the policy behind the alias ``serving``: its weights, its card, its evaluation."""
    from hitl_ops.models.planner_lm import MERGED_FOLDER
    from hitl_ops.serving.policy_alias import evaluation_of, resolve

    findings = Findings()
    with broken_files_noted(findings):
        serving = resolve(store.open(), PROGRAM)
        findings.figures = {"serves": serving.policy_id if serving else "nothing"}
        if serving is not None:
            if not list((serving.folder / MERGED_FOLDER).glob("*.safetensors")):
                findings.wrong.append(f"the weights of '{serving.policy_id}' are gone")
            if serving.card.policy_id != serving.policy_id:
                findings.wrong.append(f"'{serving.policy_id}' lies beside the card of '{serving.card.policy_id}'")
            evaluation_of(store.open(), PROGRAM, serving.card.iteration, serving.policy_id)
    return findings.result()


LEARNING_CHECKS = [
    queue_is_complete,
    plays_are_filmed,
    expert_schema,
    expert_leakage,
    corrections_are_taught,
    mix_schema,
    mix_leakage,
    mix_degenerate,
    mix_weights,
    training_learned,
    evaluation_gate,
    gate_passed,
    what_serves_is_sound,
]
