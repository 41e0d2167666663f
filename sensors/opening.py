"""Opens the next iteration as soon as the one before is decided, on the policy that serves then."""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import dagster as dg

from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_iterations import base_policy, opened_iterations, planner_iterations
from hitl_assets.planner_opening import due_opening
from hitl_assets.planner_versions import given, versions
from hitl_assets.preset_choice import PresetChoice
from resources.store import StoreResource


@dg.sensor(
    name="next_iteration",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Opens iteration N+1 when `planner_promotion` of iteration N has decided, as long as N is below "
        "`loop.iterations`: adds its partition and reports the policy it starts from, the one that serves."
    ),
)
def next_iteration(
    context: dg.SensorEvaluationContext, store: StoreResource, preset: PresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Open what is due."""
    chosen = preset.resolve()
    with mistakes_named():
        due = due_opening(context.instance, store.open(), chosen.loop.iterations)
        if isinstance(due, str):
            return dg.SkipReason(due)
        labels = store.labels()
        try:
            people = {key: given(labels, int(key)) for key in [*opened_iterations(context.instance), due.key]}
        finally:
            if labels is not None:
                labels.close()
        keep = chosen.refinement.mix.refused_iterations == "leave_out"
        told = versions(context.instance, store.open(), people, leave_out_refused=keep)
    return dg.SensorResult(
        dynamic_partitions_requests=[planner_iterations.build_add_request([due.key])],
        asset_events=[dg.AssetMaterialization(base_policy.key, partition=due.key, metadata=due.source), *told],
    )
