"""The preference program's examination: the new policy, the one that serves and the control reach for the same targets.

A thin layer over ``hitl_ops.evaluation``; who then serves is decided in ``preference_promotion``.
"""

# Annotations stay objects here; see `preference_clips`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_iterations import (
    GROUP,
    OWNERS,
    PREFERENCE_LOOP,
    PROGRAM,
    PreferencePaths,
    preference_input,
    preference_iterations,
    stage_tags,
)
from hitl_assets.preference_policies import control_of, reach_control, reach_policy
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.store import IterationPaths, Store
from hitl_ops.evaluation.comparison_curve import CURVE_FILE, CurvePoint
from hitl_ops.evaluation.summary import EvaluationSummary
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

STUDENT, SERVING, CONTROL = "student", "serving", "control"
REACH_EXAMINATION_SOURCES = ("contracts", "worlds/reach", "models/reach_policy.py", "evaluation")
"""The code that decides what the arm's policy comes to."""


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "html"},
    tags=stage_tags("evaluation"),
    partitions_def=preference_iterations,
    deps=[reach_policy, reach_control, preference_input],
    code_version=code_version(*REACH_EXAMINATION_SOURCES),
    description=(
        "The policy's examination: it, the policy that serves, and the control reach for the same targets, which none "
        "of them has trained on; what counts is the world's own success.\n\n"
        "Success with intervals, paired comparison, a report page, and success against the number of comparisons so "
        "far."
    ),
)
def reach_evaluation(
    context: dg.AssetExecutionContext,
    preference_preset: PreferencePresetChoice,
    store: StoreResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let them reach, score them, and write the report."""
    from hitl_ops.evaluation.comparison_curve import draw_success_against_comparisons
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE
    from hitl_ops.evaluation.reach_evaluation import evaluate_reach_policies
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy
    from hitl_ops.training.reward_folders import REPORT_FOLDER

    with mistakes_named():
        chosen = preference_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        players = _players(store.open(), context.instance, iteration, with_control=chosen.control.enabled)
        summary = evaluate_reach_policies(
            {
                name: load_reach_policy(folder / WEIGHTS_FOLDER, policy_id)
                for name, (folder, policy_id) in players.items()
            },
            chosen.world,
            iteration.evaluation,
            chosen.evaluation,
            progress.of_step(context),
            policy_ids={name: policy_id for name, (_, policy_id) in players.items()},
        )
        report = write_report(iteration.evaluation, title=f"Preference, iteration {context.partition_key}")
        curve = iteration.evaluation / CURVE_FILE
        points = curve_of(store.open(), iteration.iteration)
        draw_success_against_comparisons(points, "The hand within 5 cm of its target", curve)
        figures = {name: value for name, value in summary.figures().items() if isinstance(value, int | float)}
        page = tracker.add(
            store.open(),
            PROGRAM,
            context.partition_key,
            {**figures, "comparisons": points[-1].comparisons},
            [report, curve, iteration.evaluation / SUMMARY_FILE, PreferencePaths(iteration).reward / REPORT_FOLDER],
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([iteration.evaluation / SUMMARY_FILE], relative_to=iteration.evaluation)
        ),
        metadata={
            **({"MLflow (report)": dg.MetadataValue.url(page)} if page else {}),
            "success": round(summary.primary(STUDENT).success.mean, 4),
            "comparisons": points[-1].comparisons,
            **(
                {"success of the control": round(summary.primary(CONTROL).success.mean, 4)}
                if CONTROL in players
                else {}
            ),
            "scores": showing.table(reach_rows(summary)),
            "success against comparisons": showing.pictures([curve]),
            "plots": showing.pictures(sorted((iteration.evaluation / "plots").glob("*.png"))),
            "report": showing.path(report),
        },
    )


def _players(
    store: Store, instance: dg.DagsterInstance, iteration: IterationPaths, *, with_control: bool
) -> dict[str, tuple[Path, str]]:
    """Who reaches: name → folder of the policy, and its id.

    Raises:
        UserError: the iteration has no policy or no control, or the registry cannot be read.
    """
    from hitl_ops.serving.policy_alias import policy_of

    student = policy_of(iteration).policy_id
    players = {STUDENT: (iteration.policy, student)}
    opponent = PREFERENCE_LOOP.opponent_of(instance, store, iteration.key, student)
    if opponent:
        players[SERVING] = store.policy(PROGRAM, opponent), opponent
    if with_control:
        own = PreferencePaths(iteration).control
        players[CONTROL] = own.policy, control_of(own).policy_id
    return players


def curve_of(store: Store, iteration: int) -> list[CurvePoint]:
    """What stands after every iteration up to one; those without a finished evaluation are passed over.

    Raises:
        UserError: an evaluation or a data card is damaged.
    """
    from hitl_ops.evaluation.comparison_curve import success_of
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE, read_evaluation
    from hitl_ops.samples.preference_card import read_preference_card

    points = []
    for number in range(iteration + 1):
        paths = store.iteration(PROGRAM, number)
        if not (paths.evaluation / SUMMARY_FILE).is_file():
            continue
        summary, _ = read_evaluation(paths.evaluation)
        points.append(
            CurvePoint(
                iteration=number,
                comparisons=read_preference_card(paths.samples).comparisons,
                success=success_of(summary, STUDENT),
                control=success_of(summary, CONTROL) if CONTROL in summary.policies else None,
            )
        )
    return points


def reach_rows(summary: EvaluationSummary) -> list[dict[str, Any]]:
    """A row a policy, for a table."""
    from hitl_ops.evaluation.comparison_curve import success_of

    rows = []
    for name in summary.policies:
        success = success_of(summary, name)
        rows.append(
            {
                "policy": f"{name}, paid by the world's own reward" if name == CONTROL else name,
                "id": summary.policy_ids.get(name, ""),
                "targets": success.n,
                "success": showing.interval(success.mean, success.low, success.high),
                "way gone": f"{summary.primary(name).percent_complete.mean:.1%}",
            }
        )
    return rows
