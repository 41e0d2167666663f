"""Tells Dagster what people changed: plays finished or withdrawn, decisions judged otherwise.

Nothing is started. What was made of what has changed is marked as stale, and whoever looks at the graph decides.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import json
from dataclasses import asdict

import dagster as dg

from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner_iterations import opened_iterations
from hitl_assets.planner_versions import Given, given, versions
from hitl_assets.preset_choice import PresetChoice
from resources.store import StoreResource


@dg.sensor(
    name="label_changes",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Reports a new version of `collected_plays`, `annotation_labels` and `human_input` whenever people have "
        "changed what stands in the label store, so that what was made of it is marked as stale."
    ),
)
def label_changes(
    context: dg.SensorEvaluationContext, store: StoreResource, preset: PresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Compare what stands with what was reported."""
    before = _seen(context.cursor)
    keep = preset.resolve().refinement.mix.refused_iterations == "leave_out"
    with mistakes_named():
        labels = store.labels()
        try:
            found = {key: given(labels, int(key), before.get(key)) for key in opened_iterations(context.instance)}
        finally:
            if labels is not None:
                labels.close()
        told = versions(context.instance, store.open(), found, leave_out_refused=keep)
    cursor = json.dumps({key: asdict(what) for key, what in found.items()}, sort_keys=True)
    if not told and found == before:
        return dg.SkipReason("nothing has changed")
    return dg.SensorResult(asset_events=list(told), cursor=cursor)


def _seen(cursor: str | None) -> dict[str, Given]:
    """What was found last, by iteration. What cannot be read is forgotten: it is then looked at anew."""
    try:
        kept = json.loads(cursor or "{}")
        return {str(key): Given(str(a["plays"]), str(a["labels"]), int(a["last_label"])) for key, a in kept.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
