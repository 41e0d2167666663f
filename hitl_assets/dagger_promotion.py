"""The dagger program's decision: the gate compares the new policy with what serves, and lets it serve or says why not.

A thin layer over ``hitl_ops.evaluation.gate`` and ``hitl_ops.serving``. A refusal fails nothing: it is a result like
any other, and the next iteration opens on the policy that goes on serving. Where none serves yet, the new one is
compared with the imitating one that it started from, and the better of the two serves.
"""

# Annotations stay objects here; see `dagger_games`.

from typing import Any

import dagster as dg

from hitl_assets.dagger_examination import dagger_evaluation
from hitl_assets.dagger_imitation import bc_policy
from hitl_assets.dagger_iterations import GROUP, OWNERS, PROGRAM, dagger_iterations, stage_tags
from hitl_assets.dagger_preference import dpo_policy
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.promotion_result import promotion_result
from hitl_assets.provenance import code_version
from resources.progress import ProgressListener
from resources.store import StoreResource


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "mlflow"},
    tags=stage_tags("promotion"),
    partitions_def=dagger_iterations,
    deps=[dagger_evaluation, dpo_policy, bc_policy],
    code_version=code_version(
        "evaluation/gate.py", "evaluation/intervals.py", "serving/policy_alias.py", "serving/promotion.py"
    ),
    description=(
        "Who serves from now on: the new policy, if it is not worse than the one that serves, in the same games.\n\n"
        "Paired bootstrap, `gate` sets split, margin and confidence. Promoted means the alias `serving` moves; refused "
        "means all stays as it is, and the reason stands here. Where nothing serves yet, the imitating policy stands "
        "in its place, and serves if preferring made it worse. Either way the next iteration opens on what serves."
    ),
)
def dagger_promotion(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Ask the gate, and promote if it says so."""
    from hitl_ops.serving.policy_alias import policy_of, resolve
    from hitl_ops.serving.promotion import promote_by_gate

    told = progress.of_step(context)
    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        verdict = promote_by_gate(store.open(), PROGRAM, iteration.key, chosen.gate).verdict
        assert verdict is not None  # it is None only where the gate was gone against
        student, serves = policy_of(iteration).policy_id, resolve(store.open(), PROGRAM)
        told(1, 1, verdict.reason)
    return promotion_result(verdict, student, serves.policy_id if serves else "", iteration.evaluation)
