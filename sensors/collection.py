"""Takes up what people have played as soon as there is enough of it: the loop's way on from the collection app.

The label store is asked how many plays of each iteration have finished. At ``collection.target`` plays, and again at
every ``collection.step`` further ones, the job ``planner_collection`` is started for that iteration; in between it can
be started by hand. What was requested is kept in the cursor, and each mark has a run key of its own: neither a restart
nor a lost cursor starts the same run twice. A run that failed is not tried again by itself: run it again by hand.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import json
import time
from collections.abc import Mapping

import dagster as dg

from hitl_assets.iterations import POLICY, SOURCE
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_iterations import PROGRAM, base_policy, opened_iterations, planner_iterations
from hitl_assets.planner_jobs import planner_collection
from hitl_assets.planner_versions import given, versions
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import CollectionSection
from hitl_ops.contracts.store import Store, iteration_key
from resources.store import StoreResource
from sensors.watching import LOOK_EVERY_S, WATCH_S


def mark_reached(plays: int, section: CollectionSection) -> int:
    """The last number of plays up to ``plays`` at which the loop goes on; 0 before the target."""
    if plays < section.target:
        return 0
    return section.target + (plays - section.target) // section.step * section.step


@dg.sensor(
    name="finished_collection",
    job=planner_collection,
    minimum_interval_seconds=1,
    # It only reads, and does nothing before the target: on, so that `make up` is all there is to do.
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts `planner_collection` for an iteration when people have finished `collection.target` plays of it, and "
        "again at every `collection.step` further ones. Preset and target: `FLYWHEEL_PRESET`, "
        "`FLYWHEEL_COLLECTION_TARGET`."
    ),
)
def finished_collection(
    context: dg.SensorEvaluationContext, store: StoreResource, preset: PresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Look at the label store for a while, and request what has become due."""
    chosen = preset.resolve()
    section = chosen.collection
    requested = _requested(context.cursor)
    deadline = time.monotonic() + WATCH_S
    with mistakes_named():
        labels = store.labels()
        if labels is None:
            return dg.SkipReason("there is no label store: nobody was invited yet")
        try:
            while True:
                plays = labels.finished_play_counts(PROGRAM)
                due = _due(plays, section, requested)
                if due or time.monotonic() + LOOK_EVERY_S >= deadline:
                    break
                time.sleep(LOOK_EVERY_S)
            if not due:
                return dg.SkipReason(_standing(plays, section))
            opened = opened_iterations(context.instance)
            unopened = [key for key in due if key not in opened]
            # What the run is made from is told before it starts: said later, it would count as a change.
            people = {key: given(labels, int(key)) for key in [*opened, *unopened]}
        finally:
            labels.close()
        keep = chosen.refinement.mix.refused_iterations == "leave_out"
        told = versions(context.instance, store.open(), people, leave_out_refused=keep)
        source = _served(store.open()) if unopened else {}
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{PROGRAM}/{key}/plays-{mark}",
                partition_key=key,
                tags={"flywheel/plays": str(plays[int(key)])},
            )
            for key, mark in due.items()
        ],
        # People may be invited to an iteration that nobody opened: that they have played opens it.
        dynamic_partitions_requests=[planner_iterations.build_add_request(unopened)] if unopened else [],
        asset_events=[
            *(dg.AssetMaterialization(base_policy.key, partition=key, metadata=source) for key in unopened),
            *told,
        ],
        cursor=json.dumps({**requested, **due}, sort_keys=True),
    )


def _served(store: Store) -> dict[str, str]:
    """What an iteration starts from that people opened by playing."""
    from hitl_ops.serving.policy_alias import resolve

    serving = resolve(store, PROGRAM)
    said = {SOURCE: "what served when enough people had played; every play's trace names its partner"}
    return said if serving is None else {POLICY: serving.policy_id, **said}


def _requested(cursor: str | None) -> dict[str, int]:
    """The mark last requested, by iteration. What cannot be read is forgotten: run keys remember it too."""
    try:
        kept = json.loads(cursor or "{}")
    except ValueError:
        return {}
    if not isinstance(kept, dict):
        return {}
    return {str(key): mark for key, mark in kept.items() if isinstance(mark, int)}


def _due(plays: Mapping[int, int], section: CollectionSection, requested: Mapping[str, int]) -> dict[str, int]:
    marks = {iteration_key(iteration): mark_reached(count, section) for iteration, count in plays.items()}
    return {key: mark for key, mark in marks.items() if mark > requested.get(key, 0)}


def _standing(plays: Mapping[int, int], section: CollectionSection) -> str:
    """How far the newest iteration is."""
    if not plays:
        return "nobody has finished a play yet"
    iteration = max(plays)
    count = plays[iteration]
    goal = section.target if count < section.target else mark_reached(count, section) + section.step
    return f"iteration {iteration_key(iteration)}: {count} of {goal} plays"
