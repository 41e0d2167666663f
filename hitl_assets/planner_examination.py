"""The planner program's examination: teacher, student and the policy that serves play in homes none has seen.

A thin layer over ``hitl_ops.evaluation``; who then serves is decided in ``planner_promotion``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Mapping
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import claim
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner import HOUSEHOLD_SOURCES, TEACHER, household_episodes, stage_tags
from hitl_assets.planner_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    base_policy_of,
    human_input,
    planner_iterations,
)
from hitl_assets.planner_training import planner_policy
from hitl_assets.played_before import finished_rollouts, take_over
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import PlannerPreset
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.store import IterationPaths
from hitl_ops.rollouts.planners import PlannerConfig
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

STUDENT = "student"
SERVING = "serving"
"""What the student is compared with by the gate: the policy that serves, where it is another."""


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "html"},
    tags=stage_tags("evaluation"),
    partitions_def=planner_iterations,
    deps=[planner_policy, household_episodes, human_input],
    code_version=code_version(*HOUSEHOLD_SOURCES, "models", "evaluation"),
    description=(
        "The student's examination: it, the teacher and the policy that serves play the same episodes in homes none "
        "has seen.\n\n"
        "Success with bootstrap intervals by split and task type, paired comparison, latency per decision; a report "
        "page and the student's best, median and worst episode on video. What teacher and serving policy have played "
        "under the same conditions before is not played again."
    ),
)
def planner_evaluation(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let them play, score them, and write the report."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.evaluation.evaluate import summarise
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.videos import record_videos
    from hitl_ops.rollouts.episode_sets import GENERATOR_VERSION, episode_file
    from hitl_ops.rollouts.planners import planner_fingerprint
    from hitl_ops.rollouts.run import run_rollouts

    told = progress.of_step(context)
    with mistakes_named():
        chosen = preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        section = chosen.evaluation
        episodes = [
            episode
            for split in splits_of(chosen, iteration)
            for episode in read_episodes(episode_file(store.open().episodes, split))[: section.max_episodes or None]
        ]
        players = players_of(chosen, store, iteration, context.instance)
        for position, (name, planner) in enumerate(players.items()):
            config = chosen.played_rollouts.replace(
                planner=planner.model_dump(),
                processes=section.processes,
                decision_limit=section.decision_limit,
                max_episodes=0,
                # Examined is the task as it stands, undisturbed; the rest is for collecting.
                variations=0,
                disturbance=0.0,
            )
            out = iteration.evaluation / "rollouts" / name
            made_from = {
                "rollout": config.told(),
                "generator": GENERATOR_VERSION,
                "planner": planner_fingerprint(planner),
                "episodes": [episode.episode_id for episode in episodes],
            }
            claim(out, made_from)
            if name != STUDENT:
                known = take_over(out, made_from, finished_rollouts(store.open(), PROGRAM))
                context.log.info(f"{name}: {known} of {len(episodes)} episodes were played before")
            run_rollouts(episodes, config, out, _part(told, position, len(players) + 1, name))
        folders = {name: iteration.evaluation / "rollouts" / name / "traces" for name in players}
        summary = summarise(folders, iteration.evaluation, section.scoring, expected=episodes)
        if section.videos and STUDENT in summary.videos:
            record_videos(
                iteration.evaluation,
                folders[STUDENT],
                episodes,
                summary.videos[STUDENT],
                _part(told, len(players), len(players) + 1, "videos"),
                chosen.scene,
            )
        report = write_report(iteration.evaluation, title=f"Planner, iteration {context.partition_key}")
        figures = {name: value for name, value in summary.figures().items() if isinstance(value, int | float)}
        page = tracker.add(
            store.open(),
            PROGRAM,
            context.partition_key,
            figures,
            [report, iteration.evaluation / "summary.json", iteration.evaluation / "videos"],
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([iteration.evaluation / "summary.json"], relative_to=iteration.evaluation)
        ),
        metadata={
            **({"MLflow (report, videos)": dg.MetadataValue.url(page)} if page else {}),
            "scores": showing.table(
                [
                    {
                        "policy": name,
                        "split": split,
                        "episodes": scores.episodes,
                        "success": showing.interval(scores.success.mean, scores.success.low, scores.success.high),
                        "percent complete": f"{scores.percent_complete.mean:.1%}",
                        "ms a decision (median)": f"{scores.latency_ms.p50:.1f}" if scores.latency_ms else "–",
                    }
                    for name, splits in summary.policies.items()
                    for split, scores in splits.items()
                ]
            ),
            **{
                name.replace("_", " ").replace(".", " "): value
                for name, value in figures.items()
                if _plotted(name, summary.primary_split)
            },
            "plots": showing.pictures(sorted((iteration.evaluation / "plots").glob("*.png"))),
            "report": showing.path(report),
            "videos": showing.path(iteration.evaluation / "videos"),
        },
    )


def splits_of(chosen: PlannerPreset, iteration: IterationPaths) -> tuple[str, ...]:
    """What an iteration's policies play: after the first only what the gate and the curve need."""
    return chosen.evaluation.splits if iteration.iteration == 0 else chosen.refinement.evaluation_splits


def players_of(
    chosen: PlannerPreset, store: StoreResource, iteration: IterationPaths, instance: dg.DagsterInstance
) -> Mapping[str, PlannerConfig]:
    """Who plays: the teacher, the student, and what serves where that is not the student itself.

    Where it is, it has been promoted already; it is then compared with what it took the place of, as before.

    Raises:
        UserError: the iteration has no policy, or the registry cannot be read.
    """
    from hitl_ops.models.planner_lm import read_card
    from hitl_ops.serving.policy_alias import resolve

    decode = chosen.evaluation.decode
    players = {
        TEACHER: chosen.rollouts.planner,
        STUDENT: PlannerConfig(kind="policy", path=str(iteration.policy), decode=decode),
    }
    serving = resolve(store.open(), PROGRAM)
    opponent = serving.policy_id if serving is not None else ""
    if opponent == read_card(iteration.policy).policy_id:
        opponent = base_policy_of(instance, iteration.key) or ""
    if opponent:
        folder = store.open().policy(PROGRAM, opponent)
        players[SERVING] = PlannerConfig(kind="policy", path=str(folder), decode=decode)
    return players


def _part(told: Progress, position: int, parts: int, name: str) -> Progress:
    """The progress of one of several equal parts, as progress of the whole."""

    def tell(done: int, total: int, note: str = "") -> None:
        told(position * total + done, parts * total, f"{name}: {note}")

    return tell


def _plotted(name: str, primary_split: str) -> bool:
    """Figures whose course over the iterations is worth a curve; the primary split's have a plain name already."""
    bounds = "_low" in name or "_high" in name or name.endswith(f"_{primary_split}")
    return not bounds and name.partition(".")[2].partition("_")[0] in ("success", "")
