"""Wakes the station program: epochs that stations have finished, decisions that open the next one, words said later.

An epoch is finished when every expected station's manifest is there (``collection.stations``); it comes last, so that
everything it names is there too. Then ``station_refinement`` is started for that iteration, once: run keys carry what
the manifests name. What failed is tried again when something else arrives, or by hand. A manifest that is damaged, or
lies in the wrong place, is said to be so and waited for like one that is missing.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import time

import dagster as dg

from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.station_iterations import PROGRAM, STATION_LOOP, station_base_policy, station_iterations
from hitl_assets.station_jobs import station_iteration_0, station_refinement
from hitl_assets.station_opening import export_state
from hitl_assets.station_presets import StationPreset
from hitl_assets.station_versions import station_observations
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.samples.station_epochs import ArrivedEpoch, arrived_epoch
from resources.store import StoreResource
from sensors.watching import LOOK_EVERY_S, WATCH_S, asked_before, at_work

_JOBS = (station_iteration_0.name, station_refinement.name)


@dg.sensor(
    name="finished_epoch",
    job=station_refinement,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts `station_refinement` for the open iteration when all expected stations have finished their epoch, "
        "once. Preset and values laid over it: `FLYWHEEL_STATION_PRESET`, `FLYWHEEL_STATION_OVERRIDES`."
    ),
)
def finished_epoch(
    context: dg.SensorEvaluationContext, store: StoreResource, station_preset: StationPresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Look at what comes in for a while, and ask for the run that makes a policy of it."""
    chosen = station_preset.resolve()
    deadline = time.monotonic() + WATCH_S
    with mistakes_named():
        opened = STATION_LOOP.opened(context.instance)
        key = opened[-1] if opened else "000"
        if int(key) == 0:
            return dg.SkipReason("iteration 000 is made of demonstrations: a person starts it")
        if key in STATION_LOOP.decided(context.instance):
            return dg.SkipReason(f"iteration {key} is decided")
        if at_work(context.instance, key, *_JOBS):
            return dg.SkipReason(f"a run is at work on iteration {key}")
        folder = EpochFolder(store.open().station_incoming, chosen.collection.task, int(key))
        while True:
            arrived = arrived_epoch(folder)
            missing = arrived.waits_for(chosen.collection.stations)
            if not missing or time.monotonic() + LOOK_EVERY_S >= deadline:
                break
            time.sleep(LOOK_EVERY_S)
        if missing:
            return dg.SkipReason(_standing(key, missing, arrived))
        run_key = f"{PROGRAM}/{key}/{arrived.version[:16]}"
        if asked_before(context.instance, station_refinement.name, run_key):
            return dg.SkipReason(f"iteration {key}: a run was started for these episodes already; again by hand")
        # What the run is made from is told before it starts: said later, it would count as a change.
        told = _changes(context, store, chosen, opened)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=run_key,
                partition_key=key,
                tags={"flywheel/episodes": str(len(arrived.files)), "flywheel/stations": str(len(arrived.manifests))},
            )
        ],
        asset_events=list(told),
    )


@dg.sensor(
    name="next_station_iteration",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Opens iteration N+1 when `station_promotion` of iteration N has decided, as long as N is below "
        "`loop.iterations`: adds its partition and reports the policy it starts from, the one that serves. Policy "
        "servers then name the new epoch, and stations begin it."
    ),
)
def next_station_iteration(
    context: dg.SensorEvaluationContext, store: StoreResource, station_preset: StationPresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Open what is due."""
    chosen = station_preset.resolve()
    with mistakes_named():
        due = STATION_LOOP.due_opening(context.instance, store.open(), chosen.loop.iterations)
        if isinstance(due, str):
            return dg.SkipReason(due)
        export_state(store.open(), chosen)
        told = _changes(context, store, chosen, [*STATION_LOOP.opened(context.instance), due.key])
    return dg.SensorResult(
        dynamic_partitions_requests=[station_iterations.build_add_request([due.key])],
        asset_events=[dg.AssetMaterialization(station_base_policy.key, partition=due.key, metadata=due.source), *told],
    )


@dg.sensor(
    name="station_changes",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Reports a new version of `station_epoch` and `station_input` whenever a manifest has arrived, or somebody has "
        "judged an episode otherwise or left it out, so that what was made of it is marked as stale. Starts nothing."
    ),
)
def station_changes(
    context: dg.SensorEvaluationContext, store: StoreResource, station_preset: StationPresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Compare what stands with what was reported."""
    with mistakes_named():
        told = _changes(context, store, station_preset.resolve(), STATION_LOOP.opened(context.instance))
    return dg.SensorResult(asset_events=list(told)) if told else dg.SkipReason("nothing has changed")


def _changes(
    context: dg.SensorEvaluationContext, store: StoreResource, chosen: StationPreset, keys: list[str]
) -> list[dg.AssetObservation]:
    with store.opened_labels() as labels:
        return station_observations(
            context.instance,
            store.open(),
            labels,
            keys,
            leave_out_refused=chosen.collection.refused_epochs == "leave_out",
        )


def _standing(key: str, missing: list[str], arrived: ArrivedEpoch) -> str:
    """What an iteration waits for, and what is wrong with what came."""
    have = f", {len(arrived.manifests)} came" if arrived.manifests else ""
    return "; ".join([f"iteration {key} waits for {', '.join(missing)}{have}", *arrived.damaged])
