"""The planner program's decision: the gate compares the student with what serves, and lets it serve or says why not.

A thin layer over ``hitl_ops.evaluation.gate`` and ``hitl_ops.serving``. A refusal fails nothing: it is a result like
any other, and the next iteration opens on the policy that goes on serving.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from typing import Any

import dagster as dg

from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner import stage_tags
from hitl_assets.planner_examination import planner_evaluation
from hitl_assets.planner_iterations import GROUP, OWNERS, PROGRAM, human_input, planner_iterations
from hitl_assets.planner_training import planner_policy
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import CheckLimits
from hitl_assets.promotion_result import promotion_result
from hitl_assets.provenance import code_version
from hitl_ops.evaluation.summary import EvaluationSummary
from resources.progress import ProgressListener
from resources.store import StoreResource


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "mlflow"},
    tags=stage_tags("promotion"),
    partitions_def=planner_iterations,
    deps=[planner_evaluation, planner_policy, human_input],
    code_version=code_version(
        "evaluation/gate.py", "evaluation/intervals.py", "serving/policy_alias.py", "serving/promotion.py"
    ),
    description=(
        "Who serves from now on: the student, if it is not worse than the policy that serves, on the same episodes.\n\n"
        "Paired bootstrap, `gate` sets margin and confidence. Promoted means the alias `serving` moves; servers follow "
        "within seconds. Refused means all stays as it is, and the reason stands here."
    ),
)
def planner_promotion(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Ask the gate, and promote if it says so."""
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.evaluation.gate import write_gate
    from hitl_ops.serving.policy_alias import policy_of, resolve
    from hitl_ops.serving.promotion import judge, promote_by_gate

    told = progress.of_step(context)
    with mistakes_named():
        chosen = preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        hindrance = _hindrance(read_evaluation(iteration.evaluation)[0], chosen.checks)
        if hindrance:
            verdict = judge(store.open(), PROGRAM, iteration.key, chosen.gate)
            verdict = verdict.model_copy(update={"promote": False, "reason": hindrance})
            write_gate(iteration.evaluation, verdict)
        else:
            found = promote_by_gate(store.open(), PROGRAM, iteration.key, chosen.gate).verdict
            assert found is not None  # it is None only where the gate was gone against
            verdict = found
        student, serves = policy_of(iteration).policy_id, resolve(store.open(), PROGRAM)
        told(1, 1, verdict.reason)
    return promotion_result(verdict, student, serves.policy_id if serves else "", iteration.evaluation)


def _hindrance(summary: EvaluationSummary, limits: CheckLimits) -> str:
    """Why the student may not serve whatever the gate says; "" where nothing speaks against it."""
    ratio = summary.figures().get("student_over_teacher")
    if limits.gate_severity != "ERROR" or (ratio is not None and ratio >= limits.gate_ratio):
        return ""
    reached = "nothing to compare with" if ratio is None else f"{ratio:.2f} of its teacher's success"
    return f"may not serve: the student reaches {reached}, and checks.gate_severity asks for {limits.gate_ratio:.2f}"
