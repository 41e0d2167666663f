"""Wakes the preference program: enough said of pairs, decisions that open the next iteration, words said later.

When as many of the open iteration's pairs are answered as ``labels.every`` wants, ``preference_learning`` is started
for it, once: run keys carry what was said. What failed is tried again when somebody says something else, or by hand.
"""

# Annotations stay objects here: Dagster recognises the context and the resources by their types, so this module must
# not import `annotations` from `__future__`.

import contextlib
import time
from pathlib import Path

import dagster as dg

from hitl_assets.mistakes import mistakes_named
from hitl_assets.preference_iterations import (
    PREFERENCE_LOOP,
    PROGRAM,
    preference_base_policy,
    preference_iterations,
)
from hitl_assets.preference_jobs import preference_clips, preference_learning
from hitl_assets.preference_presets import PreferencePreset
from hitl_assets.preference_versions import Answered, answered, preference_observations
from hitl_assets.preset_choice import PreferencePresetChoice
from hitl_ops.labels.preferences import Preference
from hitl_ops.records.clips import CLIPS_FILE
from resources.store import StoreResource
from sensors.watching import LOOK_EVERY_S, WATCH_S, asked_before, at_work


@dg.sensor(
    name="new_preferences",
    job=preference_learning,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts `preference_learning` for the open iteration when people have compared as many of its pairs as "
        "`labels.every` wants, once; each pair counts once, however many answer it. Preset and values laid over it: "
        "`FLYWHEEL_PREFERENCE_PRESET`, `FLYWHEEL_PREFERENCE_OVERRIDES`."
    ),
)
def new_preferences(
    context: dg.SensorEvaluationContext, store: StoreResource, preference_preset: PreferencePresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Look at what people say for a while, and ask for the run that learns from it."""
    chosen = preference_preset.resolve()
    deadline = time.monotonic() + WATCH_S
    with mistakes_named():
        opened = PREFERENCE_LOOP.opened(context.instance)
        if not opened:
            return dg.SkipReason("no iteration is open yet")
        key = opened[-1]
        if key in PREFERENCE_LOOP.decided(context.instance):
            return dg.SkipReason(f"iteration {key} is decided")
        if not _clips(store, key).is_file():
            return dg.SkipReason(f"iteration {key} has no clips yet: a run of preference_clips makes them")
        if at_work(context.instance, key, preference_learning.name):
            return dg.SkipReason(f"a run is at work on iteration {key}")
        found = _watched(store, chosen, int(key), deadline)
        if found.missing:
            return dg.SkipReason(f"iteration {key} has {found.told}")
        run_key = f"{PROGRAM}/{key}/{found.version[:16]}"
        if asked_before(context.instance, preference_learning.name, run_key):
            return dg.SkipReason(f"iteration {key}: a run was started for these comparisons already; again by hand")
        # What the run is made from is told before it starts: said later, it would count as a change.
        told = _changes(context, store, opened)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=run_key, partition_key=key, tags={"flywheel/comparisons": str(found.answers)})
        ],
        asset_events=list(told),
    )


@dg.sensor(
    name="next_preference_iteration",
    job=preference_clips,
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Opens iteration N+1 when `reach_promotion` of iteration N has decided, as long as N is below "
        "`loop.iterations`: adds its partition, reports the policy it starts from, the one that serves, and starts "
        "`preference_clips` for it, so that people go on comparing."
    ),
)
def next_preference_iteration(
    context: dg.SensorEvaluationContext, store: StoreResource, preference_preset: PreferencePresetChoice
) -> dg.SensorResult | dg.SkipReason:
    """Open what is due, and ask for its clips."""
    chosen = preference_preset.resolve()
    with mistakes_named():
        opened = PREFERENCE_LOOP.opened(context.instance)
        due = PREFERENCE_LOOP.due_opening(context.instance, store.open(), chosen.loop.iterations)
        if isinstance(due, str):
            # One that a person opened waits for its clips as well.
            lacks = opened and int(opened[-1]) and not _clips(store, opened[-1]).is_file()
            key = _clips_run(opened[-1]) if lacks else ""
            if not key or asked_before(context.instance, preference_clips.name, key):
                return dg.SkipReason(due)
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, partition_key=opened[-1])])
        told = _changes(context, store, [*opened, due.key])
    return dg.SensorResult(
        dynamic_partitions_requests=[preference_iterations.build_add_request([due.key])],
        asset_events=[
            dg.AssetMaterialization(preference_base_policy.key, partition=due.key, metadata=due.source),
            *told,
        ],
        run_requests=[dg.RunRequest(run_key=_clips_run(due.key), partition_key=due.key)],
    )


@dg.sensor(
    name="preference_changes",
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Reports a new version of `preference_input` whenever somebody has compared a pair, said otherwise or taken "
        "it back, so that what was learned from it is marked as stale. Starts nothing."
    ),
)
def preference_changes(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
    """Compare what stands with what was reported."""
    with mistakes_named():
        told = _changes(context, store, PREFERENCE_LOOP.opened(context.instance))
    return dg.SensorResult(asset_events=list(told)) if told else dg.SkipReason("nothing has changed")


def _clips(store: StoreResource, key: str) -> Path:
    return store.iteration(PROGRAM, key).clips / CLIPS_FILE


def _clips_run(key: str) -> str:
    return f"{PROGRAM}/{key}/clips"


def _watched(store: StoreResource, chosen: PreferencePreset, iteration: int, deadline: float) -> Answered:
    """How far an iteration's pairs are answered: looked at until they are, or until the tick is nearly over.

    Args:
        store: holds its clips, and the label store, which may come to exist meanwhile.
        chosen: the program's preset.
        iteration: its number.
        deadline: of the tick, on the monotonic clock.
    """
    from hitl_ops.labels.standing_words import StandingWords

    with contextlib.ExitStack() as opened:
        words: StandingWords | None = None
        before: list[Preference] = []
        found: Answered | None = None
        while True:
            if words is None and (labels := store.labels()) is not None:
                opened.callback(labels.close)
                words = StandingWords(labels, PROGRAM)
            said = [] if words is None else [word for word in words.all() if word.iteration <= iteration]
            if found is None or said != before:
                found, before = answered(store.open(), said, chosen, iteration), said
            if not found.missing or time.monotonic() + LOOK_EVERY_S >= deadline:
                return found
            time.sleep(LOOK_EVERY_S)


def _changes(context: dg.SensorEvaluationContext, store: StoreResource, keys: list[str]) -> list[dg.AssetObservation]:
    with store.opened_labels() as labels:
        return preference_observations(context.instance, labels, keys)
