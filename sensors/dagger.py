"""Wakes the dagger program: a decision opens the next iteration, which begins at once, for nobody has to say anything.

An iteration that failed is not started again by itself.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import dagster as dg

from hitl_assets.dagger_iterations import DAGGER_LOOP, PROGRAM, dagger_base_policy, dagger_iterations
from hitl_assets.dagger_jobs import dagger_iteration
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from resources.store import StoreResource
from sensors.watching import asked_before, at_work


@dg.sensor(
    name="next_dagger_iteration",
    job=dagger_iteration,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Opens iteration N+1 when `dagger_promotion` of iteration N has decided, as long as N is below "
        "`loop.iterations`: adds its partition, reports the policy it starts from, the one that serves, and starts "
        "`dagger_iteration` for it. Preset and values laid over it: `FLYWHEEL_DAGGER_PRESET`, "
        "`FLYWHEEL_DAGGER_OVERRIDES`."
    ),
)
def next_dagger_iteration(
    context: dg.SensorEvaluationContext, store: StoreResource, dagger_preset: DaggerPresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Open what is due, and ask for its run."""
    chosen = dagger_preset.resolve()
    with mistakes_named():
        opened = DAGGER_LOOP.opened(context.instance)
        due = DAGGER_LOOP.due_opening(context.instance, store.open(), chosen.loop.iterations)
        if isinstance(due, str):
            # One that a person opened begins as well, except for the first, which a person begins.
            newest = opened[-1] if opened else "000"
            waits = int(newest) > 0 and newest not in DAGGER_LOOP.decided(context.instance)
            if not waits or at_work(context.instance, newest, dagger_iteration.name):
                return dg.SkipReason(due)
            if asked_before(context.instance, dagger_iteration.name, _run(newest)):
                return dg.SkipReason(f"{due}: a run was started for it already; again by hand")
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=_run(newest), partition_key=newest)])
    return dg.SensorResult(
        dynamic_partitions_requests=[dagger_iterations.build_add_request([due.key])],
        asset_events=[dg.AssetMaterialization(dagger_base_policy.key, partition=due.key, metadata=due.source)],
        run_requests=[dg.RunRequest(run_key=_run(due.key), partition_key=due.key)],
    )


def _run(key: str) -> str:
    return f"{PROGRAM}/{key}"
