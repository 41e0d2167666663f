"""Makes the next policy as soon as annotators are through: the loop's way on from the annotation page.

An iteration is through when ``annotation.target`` of its plays have been reviewed, when all plays in the queue have,
or when an annotator says so. Then ``planner_refinement`` is started for it, once: an iteration that is decided is over
for this sensor, and so is one whose run is still at work. What failed is tried again when somebody says something
new, or by hand. Run keys carry the last label, so that a lost cursor starts nothing twice.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from hitl_assets.annotation_standing import AnnotationStanding, annotation_standing
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_corrections import annotation_queue
from hitl_assets.planner_iterations import PROGRAM, opened_iterations
from hitl_assets.planner_jobs import planner_collection, planner_iteration_0, planner_refinement
from hitl_assets.planner_opening import DECISION
from hitl_assets.planner_sessions import session_logs
from hitl_assets.planner_versions import Given, given, newer_labels, versions
from hitl_assets.preset_choice import PresetChoice
from hitl_ops.contracts.errors import UserError
from resources.store import StoreResource
from sensors.watching import LOOK_EVERY_S, WATCH_S, asked_before, at_work

_JOBS = (planner_iteration_0.name, planner_collection.name, planner_refinement.name)


@dg.sensor(
    name="finished_annotation",
    job=planner_refinement,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts `planner_refinement` for an iteration when annotators have reviewed `annotation.target` of its plays, "
        "or all that wait, or say that they are through; once an iteration. Preset and values laid over it: "
        "`FLYWHEEL_PRESET`, `FLYWHEEL_OVERRIDES`."
    ),
)
def finished_annotation(
    context: dg.SensorEvaluationContext, store: StoreResource, preset: PresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Look at what people say for a while, and ask for the run that makes a policy of it."""
    chosen = preset.resolve()
    deadline = time.monotonic() + WATCH_S
    with mistakes_named():
        waiting = _waiting(context.instance)
        if not waiting:
            return dg.SkipReason("no iteration waits for annotators")
        labels = store.labels()
        if labels is None:
            return dg.SkipReason("there is no label store: nobody was invited yet")
        try:
            queues = {key: _queue(store, key) for key in waiting}
            found: dict[str, AnnotationStanding] = {}
            while True:
                for key, queue in queues.items():
                    found[key] = _standing(labels, int(key), queue, chosen.annotation.target, found.get(key))
                due = _due(context.instance, found)
                if due or time.monotonic() + LOOK_EVERY_S >= deadline:
                    break
                time.sleep(LOOK_EVERY_S)
            if not due:
                return dg.SkipReason("; ".join(f"iteration {key}: {standing}" for key, standing in found.items()))
            # What the run is made from is told before it starts: said later, it would count as a change.
            people: Mapping[str, Given] = {key: given(labels, int(key)) for key in opened_iterations(context.instance)}
        finally:
            labels.close()
        keep = chosen.refinement.mix.refused_iterations == "leave_out"
        events = versions(context.instance, store.open(), people, leave_out_refused=keep)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{PROGRAM}/{key}/label-{standing.last_label}",
                partition_key=key,
                tags={
                    "flywheel/reviewed": str(standing.reviewed),
                    **({"flywheel/closed_by": standing.closed_by[0][:200]} if standing.closed_by else {}),
                },
            )
            for key, standing in due.items()
        ],
        asset_events=list(events),
    )


def _waiting(instance: dg.DagsterInstance) -> list[str]:
    """Iterations whose plays were taken up, that are not decided, and that no run is at work on."""
    taken_up = instance.get_materialized_partitions(session_logs.key) & instance.get_materialized_partitions(
        annotation_queue.key
    )
    open_ones = sorted(taken_up - instance.get_materialized_partitions(DECISION), key=int)
    return [key for key in open_ones if not at_work(instance, key, *_JOBS)]


def _queue(store: StoreResource, key: str) -> list[str]:
    from hitl_ops.samples.annotation_queue import read_annotation_queue

    try:
        return [play.play_id for play in read_annotation_queue(store.iteration(PROGRAM, key).sessions)]
    except UserError:
        return []  # removed by hand: nothing waits until planner_collection has run again


def _standing(
    labels: Any, iteration: int, queue: list[str], target: int, before: AnnotationStanding | None
) -> AnnotationStanding:
    """How far an iteration is; all its labels are read only where there are new ones."""
    from hitl_ops.labels.opinions import opinions

    if before is not None and not newer_labels(labels, iteration, before.last_label):
        return before
    return annotation_standing(opinions(labels, PROGRAM, iteration), queue, target)


def _due(instance: dg.DagsterInstance, found: Mapping[str, AnnotationStanding]) -> dict[str, AnnotationStanding]:
    """Those that are through and were not asked for with the same last word already."""
    return {
        key: standing
        for key, standing in found.items()
        if standing.through and not _asked(instance, key, standing.last_label)
    }


def _asked(instance: dg.DagsterInstance, key: str, last_label: int) -> bool:
    return asked_before(instance, planner_refinement.name, f"{PROGRAM}/{key}/label-{last_label}")
