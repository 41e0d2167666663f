"""One iteration by hand: from people's plays to the policy that serves, stage by stage, gone on with after a stop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from flywheel.demo_stages import Stages
    from hitl_assets.presets import PlannerPreset, ScriptedCrowd
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.scripted_expert import ScriptedExpertConfig

PEOPLE, EXPERT = "people", "expert"

# What a person calls the stages, in their order; all but the two that wait for people are assets.
ITERATION_STAGES: Mapping[str, str] = {
    PEOPLE: "people play with the policy",
    "session_logs": "their plays are read",
    "session_scores": "and scored",
    "human_gold_samples": "the best become samples",
    "annotation_queue": "what is worth a look",
    "session_videos": "on video",
    EXPERT: "an expert corrects",
    "expert_samples": "corrections become samples",
    "training_mix": "all iterations' samples, weighted",
    "planner_adapter": "the policy learns",
    "planner_policy": "weights and policy card",
    "planner_evaluation": "it plays in unseen homes",
    "planner_promotion": "not worse? then it serves",
}
_LOOK_EVERY_S = 2.0
_HEARTBEAT_S = 60.0


@dataclass(frozen=True)
class ScriptedPeople:
    """Stand-ins for the people of an iteration.

    Attributes:
        crowd: plays.
        expert: corrects.
    """

    crowd: ScriptedCrowd
    expert: ScriptedExpertConfig


@dataclass(frozen=True)
class Loop:
    """What every stage of an iteration works with.

    Attributes:
        store: holds everything.
        instance: Dagster's.
        preset: name of the scale.
        overrides: ``section.key=value`` laid over it.
        chosen: the two together.
        errors: where stages and defects are told.
    """

    store: Store
    instance: dg.DagsterInstance
    preset: str
    overrides: Sequence[str]
    chosen: PlannerPreset
    errors: Console


def next_iteration_of(loop: Loop) -> int:
    """The iteration to work at: the newest that is open and not decided yet, or the one after it.

    Raises:
        UserError: iteration 000 is not through yet.
    """
    from hitl_assets.planner_iterations import opened_iterations
    from hitl_assets.planner_opening import DECISION

    decided = loop.instance.get_materialized_partitions(DECISION)
    opened = opened_iterations(loop.instance)
    newest = int(opened[-1]) if opened else 0
    if iteration_key(0) not in decided:
        raise UserError("iteration 000 has no policy that serves yet", "run `flywheel demo` or materialise it first")
    return newest + 1 if iteration_key(newest) in decided else newest


def run_iteration(loop: Loop, iteration: int, stages: Stages, people: ScriptedPeople | None) -> int:
    """Open an iteration and bring it to its end; what is done already is not done again.

    Args:
        loop: what to work with.
        iteration: its number, at least 1.
        stages: told what is at work.
        people: stand-ins; None waits for people.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended, or no policy serves yet.
    """
    from hitl_assets.planner_opening import open_on_serving

    key = open_on_serving(loop.instance, loop.store, iteration)
    _collect(loop, iteration, stages, people)
    if code := _job(loop, "planner_collection", key, stages):
        return code
    _annotate(loop, iteration, stages, people)
    return _job(loop, "planner_refinement", key, stages)


def refuse_beside_sensors(instance: dg.DagsterInstance) -> None:
    """Two hands on one loop would start everything twice.

    Raises:
        UserError: a Dagster daemon is at work on this instance, whose sensors do all of this by themselves.
    """
    now = time.time()
    beats = instance.get_daemon_heartbeats()
    if any(kind == "SENSOR" and now - beat.timestamp < _HEARTBEAT_S for kind, beat in beats.items()):
        raise UserError(
            "`flywheel up` is at work on this store, and its sensors run iterations by themselves",
            "watch it there, or end it first",
        )


def _job(loop: Loop, job: str, key: str, stages: Stages) -> int:
    from flywheel.job_run import planner_scale, run_job
    from hitl_assets.planner_versions import report_versions

    # What the run is made from is told before it starts: said later, it would count as a change.
    report_versions(loop.instance, loop.store)
    return run_job(
        job,
        key,
        store=loop.store,
        instance=loop.instance,
        scale=planner_scale(loop.preset, loop.overrides),
        stages=stages,
        errors=loop.errors,
    )


def _collect(loop: Loop, iteration: int, stages: Stages, people: ScriptedPeople | None) -> None:
    target = loop.chosen.collection.target
    progress = stages.of(PEOPLE)
    if people is not None:
        from flywheel.scripted_collection import collect_by_script

        collect_by_script(loop.store, iteration, target, people.crowd, progress)
    else:
        loop.errors.print(f"waiting for {target} plays: `flywheel collect --iteration {iteration} --invite 10`")
        _wait_for_plays(loop, iteration, target, progress)
    stages.ended()


def _wait_for_plays(loop: Loop, iteration: int, target: int, progress: Progress) -> None:
    with closing(_labels(loop)) as labels:
        while (done := labels.finished_play_counts("planner").get(iteration, 0)) < target:
            progress(done, target, "plays")
            time.sleep(_LOOK_EVERY_S)
    progress(target, target, "plays")


def _annotate(loop: Loop, iteration: int, stages: Stages, people: ScriptedPeople | None) -> None:
    target = loop.chosen.annotation.target
    progress = stages.of(EXPERT)
    if people is None:
        loop.errors.print(f"waiting for {target} annotated plays: `flywheel annotate --iteration {iteration}`")
        _wait_for_annotators(loop, iteration, target, progress)
    else:
        from flywheel.annotate_scripted import annotate_by_script

        annotate_by_script(loop.store, iteration, people.expert, progress, limit=target)
    stages.ended()


def _wait_for_annotators(loop: Loop, iteration: int, target: int, progress: Progress) -> None:
    from hitl_ops.labels.opinions import opinions
    from hitl_ops.samples.annotation_queue import read_annotation_queue

    queued = len(read_annotation_queue(loop.store.iteration("planner", iteration).sessions))
    wanted = min(target, queued)
    with closing(_labels(loop)) as labels:
        while True:
            said = opinions(labels, "planner", iteration)
            done = len(said.reviewed)
            progress(min(done, wanted), wanted, "plays reviewed")
            if done >= wanted or said.closed_by:
                return
            time.sleep(_LOOK_EVERY_S)


def _labels(loop: Loop) -> LabelStore:
    from hitl_ops.labels.label_store import LabelStore

    return LabelStore.open(loop.store.labels_url)
