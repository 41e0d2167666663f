"""What must hold of clips, of what people said of them, of the reward learned from it, and of the examination.

What is broken, or says nothing at all, blocks what follows in the same run. That people say little, or nearly always
the same side, is only said.
"""

# Annotations stay objects here; see `preference_clips`.

import dagster as dg

from hitl_assets.findings import Findings, broken_files_noted
from hitl_assets.preference_clips import clip_pairs
from hitl_assets.preference_examination import STUDENT, reach_evaluation
from hitl_assets.preference_iterations import PROGRAM, PreferencePaths
from hitl_assets.preference_learning import preference_labels, reward_model
from hitl_assets.preference_promotion import reach_promotion
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_assets.promotion_result import gate_findings
from resources.store import StoreResource

CONSTANT_BELOW = 1e-2
"""How sure a reward is of which clip is better, below which it says the same of all."""


@dg.asset_check(asset=clip_pairs, blocking=True, description="Every clip is there, whole, and as long as the others.")
def clips_are_whole(
    context: dg.AssetCheckExecutionContext, preference_preset: PreferencePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Read every clip's numbers; fewer pairs than were wanted are worth a look."""
    from hitl_ops.records.clips import open_clip_set

    findings = Findings()
    with broken_files_noted(findings):
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        found = open_clip_set(iteration.clips)
        lengths = {clip.facts.steps for clip in found.all_clips()}
        findings.figures = {"clips": len(found.clips), "pairs": len(found.pairs), "steps": str(sorted(lengths))}
        if lengths != {chosen.clips.steps}:
            findings.wrong.append(f"clips have {sorted(lengths)} steps, clips.steps is {chosen.clips.steps}")
        wanted = chosen.pairs_of(iteration.iteration)
        if len(found.pairs) < wanted:
            findings.doubtful.append(f"there are {len(found.pairs)} pairs, {wanted} were wanted: make more clips")
    return findings.result()


@dg.asset_check(asset=clip_pairs, blocking=True, description="No clip shows a target of the examination.")
def targets_are_apart(
    context: dg.AssetCheckExecutionContext, preference_preset: PreferencePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare the seeds of clips' episodes with the examination's."""
    from hitl_ops.records.clips import open_clip_set

    findings = Findings()
    with broken_files_noted(findings):
        examination = preference_preset.resolve().evaluation
        unseen = {
            first + number
            for first in (examination.seed, examination.final_seed)
            for number in range(examination.targets)
        }
        clips = open_clip_set(store.iteration(PROGRAM, context.partition_key).clips).clips
        shared = sorted(name for name, facts in clips.items() if facts.seed is not None and facts.seed in unseen)
        findings.figures = {"episodes": len({facts.seed for facts in clips.values()}), "shared": len(shared)}
        if shared:
            findings.wrong.append(f"{len(shared)} clips show targets of the examination, e.g. '{shared[0]}'")
    return findings.result()


@dg.asset_check(asset=preference_labels, description="Nobody says nearly always the same side.")
def people_look_at_the_clips(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look at how often everybody says left; answers that cannot be used are worth a look too."""
    from hitl_ops.samples.preference_card import read_preference_card

    findings = Findings()
    with broken_files_noted(findings):
        card = read_preference_card(store.iteration(PROGRAM, context.partition_key).samples)
        findings.figures = {"people": len(card.annotators), "comparisons": card.comparisons}
        for name, one in card.annotators.items():
            if one.one_sided:
                side = "left" if (one.left_share or 0) > 0.5 else "right"
                findings.doubtful.append(f"'{name}' says nearly always {side}: {one.answers} answers")
        findings.doubtful += [f"{count} comparisons are {why}" for why, count in card.left_out.items()]
    return findings.result()


@dg.asset_check(asset=reward_model, blocking=True, description="The reward tells steps apart.")
def reward_is_not_constant(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Look how far the reward tells clips apart, before it is scaled, and whether it is a number everywhere."""
    from hitl_ops.training.reward_training import read_reward_summary

    findings = Findings()
    with broken_files_noted(findings):
        report = read_reward_summary(PreferencePaths(store.iteration(PROGRAM, context.partition_key)).reward).report
        decided = report.figures.decided
        findings.figures = {"deviation": round(report.deviation, 6), "decided": round(decided, 6)}
        if not (decided >= CONSTANT_BELOW and report.deviation >= CONSTANT_BELOW):  # not a number fails too
            findings.wrong.append(f"the reward says the same of every clip (decided {decided:.2g} of 1)")
    return findings.result()


@dg.asset_check(asset=reward_model, description="The reward agrees with answers it has not learned from.")
def reward_generalises(
    context: dg.AssetCheckExecutionContext, preference_preset: PreferencePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Compare its accuracy on held-out answers with ``checks.least_held_out_accuracy``, where there are enough."""
    from hitl_ops.training.reward_training import read_reward_summary

    findings = Findings()
    with broken_files_noted(findings):
        limits = preference_preset.resolve().checks
        paths = PreferencePaths(store.iteration(PROGRAM, context.partition_key))
        figures = read_reward_summary(paths.reward).report.figures
        accuracy = figures.validation_accuracy
        findings.figures = {
            "held out": figures.held_out,
            "accuracy on them": "none" if accuracy is None else round(accuracy, 4),
        }
        enough = figures.held_out >= limits.least_held_out
        if enough and accuracy is not None and accuracy < limits.least_held_out_accuracy:
            findings.doubtful.append(
                f"the reward agrees with {accuracy:.0%} of {figures.held_out} held-out answers; "
                f"{limits.least_held_out_accuracy:.0%} are wanted"
            )
    return findings.result()


@dg.asset_check(asset=reach_evaluation, blocking=True, description="Everybody has reached for every target.")
def examination_is_complete(
    context: dg.AssetCheckExecutionContext, preference_preset: PreferencePresetChoice, store: StoreResource
) -> dg.AssetCheckResult:
    """Count the targets; few of them, or none reached, are worth a look."""
    from hitl_ops.evaluation.evaluate import read_evaluation

    findings = Findings()
    with broken_files_noted(findings):
        chosen = preference_preset.resolve()
        summary, scores = read_evaluation(store.iteration(PROGRAM, context.partition_key).evaluation)
        targets = chosen.evaluation.targets
        findings.figures = {"targets": targets, "policies": len(scores)}
        for name, rows in scores.items():
            if len(rows) != targets:
                findings.wrong.append(f"'{name}' reached for {len(rows)} targets, evaluation.targets is {targets}")
        if targets < chosen.checks.least_episodes:
            findings.doubtful.append(f"{targets} targets say little, least is {chosen.checks.least_episodes}")
        if not summary.primary(STUDENT).success.mean:
            findings.doubtful.append("the policy reached no target")
    return findings.result()


@dg.asset_check(asset=reach_promotion, description="The new policy passed the gate, and serves.")
def reach_gate_passed(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
    """Say whether the gate let it serve."""
    return gate_findings(store.iteration(PROGRAM, context.partition_key).evaluation).result()


PREFERENCE_CHECKS = [
    clips_are_whole,
    targets_are_apart,
    people_look_at_the_clips,
    reward_is_not_constant,
    reward_generalises,
    examination_is_complete,
    reach_gate_passed,
]
