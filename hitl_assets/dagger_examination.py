"""The dagger program's examination: the agent before it learned, after imitating, after preferring, and what serves.

A thin layer over ``hitl_ops.evaluation``; who then serves is decided in ``dagger_promotion``.
"""

# Annotations stay objects here; see `dagger_games`.

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.dagger_games import dagger_games, games_file
from hitl_assets.dagger_imitation import bc_policy
from hitl_assets.dagger_iterations import (
    DAGGER_LOOP,
    GROUP,
    OWNERS,
    PROGRAM,
    DaggerPaths,
    dagger_iterations,
    stage_tags,
)
from hitl_assets.dagger_preference import bc_control, dpo_policy
from hitl_assets.dagger_presets import DaggerPreset
from hitl_assets.launched_training import Lesson, launch_training
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import IterationPaths, Store
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

if TYPE_CHECKING:
    from hitl_ops.evaluation.intervals import Interval
    from hitl_ops.evaluation.text_evaluation import TextFigures
    from hitl_ops.training.agent_rounds_log import RoundLog

UNTRAINED, BC, DPO, CONTROL, SERVING = "untrained", "bc", "dpo", "control", "serving"
SPOKEN: Mapping[str, str] = {
    UNTRAINED: "untrained",
    BC: "BC",
    CONTROL: "BC, as long",
    DPO: "BC + DPO",
    SERVING: "serving",
}
"""What people call the agents that are examined, in the order in which they are told of."""
TEXT_EXAMINATION_SOURCES = (
    "contracts/text_game.py",
    "worlds/text_commands.py",
    "worlds/text_worlds.py",
    "worlds/household_text",
    "worlds/alfworld",
    "experts/text_searcher.py",
    "experts/text_beliefs.py",
    "experts/text_priors.py",
    "models/vision_agent.py",
    "models/vision_agent_base.py",
    "models/vision_agent_walks.py",
    "rollouts/game_agent.py",
    "rollouts/text_history.py",
    "rollouts/text_rounds.py",
)
"""The code that decides how an agent's games end."""


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "html"},
    tags=stage_tags("evaluation"),
    partitions_def=dagger_iterations,
    deps=[dpo_policy, bc_policy, bc_control, dagger_games],
    code_version=code_version(*TEXT_EXAMINATION_SOURCES, "evaluation"),
    pool="gpu",
    description=(
        "The agents' examination: untrained, after imitating, after preferring, the control and what serves play the "
        "same games, which none of them has learned from; nobody helps.\n\n"
        "Success with intervals, paired comparison, agreement with the expert, commands that did nothing, a report "
        "page. The gate decides by the `val` games; those of `test` are only told. Runs as a process of its own, "
        "`flywheel evaluate --program dagger`; finished games are kept."
    ),
)
def dagger_evaluation(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let them play, score them, and write the report."""
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE, read_evaluation
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.text_evaluation import FIGURES_FILE, read_text_figures
    from hitl_ops.evaluation.text_plots import ROUNDS_PLOT, SUCCESS_PLOT, draw_rounds, draw_success

    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        out, paths = iteration.evaluation, DaggerPaths(iteration)
        players = examined(store.open(), context.instance, iteration, chosen)
        games = [games_file(paths.games, split) for split in ("test", "val")]
        lesson = Lesson(
            None,
            out,
            chosen.examination,
            # The games that are finished say by themselves what they are made from.
            {"program": PROGRAM},
            arguments=(
                *(f"{name}={folder}" for name, folder in players.items()),
                *("--program", PROGRAM),
                *(word for file in games for word in ("--episodes", str(file))),
            ),
            verb="evaluate",
            tracked=None,
        )
        launch_training(context, lesson, store.open(), iteration, launcher, tracker, progress.of_step(context))
        figures, (summary, _) = read_text_figures(out), read_evaluation(out)
        report = write_report(out, title=f"Dagger, iteration {context.partition_key}", note=figures.note)
        success = success_by_agent(figures, summary.primary_split)
        draw_success(success, f"{next(iter(success.values())).n} games nobody learned from", out / SUCCESS_PLOT)
        phases, begins = rounds_of(iteration)
        draw_rounds(phases, out / ROUNDS_PLOT, begins=begins)
        told = {name: value for name, value in summary.figures().items() if isinstance(value, int | float)}
        files = [report, out / SUCCESS_PLOT, out / ROUNDS_PLOT, out / SUMMARY_FILE, out / FIGURES_FILE]
        page = tracker.add(store.open(), PROGRAM, context.partition_key, told, files)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([out / SUMMARY_FILE], relative_to=out)),
        metadata={
            **({"MLflow (report)": dg.MetadataValue.url(page)} if page else {}),
            "success": round(summary.primary(DPO).success.mean, 4),
            **{
                f"success, {SPOKEN[name]}": round(summary.primary(name).success.mean, 4)
                for name in summary.policies
                if name != DPO
            },
            "note": figures.note,
            "scores": showing.table(agent_rows(figures, summary.policy_ids)),
            "success by agent": showing.pictures([out / SUCCESS_PLOT]),
            "rounds": showing.pictures([out / ROUNDS_PLOT]),
            "plots": showing.pictures(sorted((out / "plots").glob("*.png"))),
            "report": showing.path(report),
        },
    )


def examined(
    store: Store, instance: dg.DagsterInstance, iteration: IterationPaths, chosen: DaggerPreset
) -> dict[str, Path]:
    """Who is examined: name → folder of the policy, or of the agent where it has none.

    Raises:
        UserError: one of them is not there, or the registry cannot be read.
    """
    from hitl_ops.models.planner_lm import CARD_FILE, read_card
    from hitl_ops.serving.policy_alias import policy_of
    from hitl_ops.training.agent_phase import START

    paths = DaggerPaths(iteration)
    # The agent that nobody has taught yet is the program's, made in its first iteration.
    untrained = DaggerPaths(store.iteration(PROGRAM, 0)).bc / START
    found = {UNTRAINED: untrained} if untrained.is_dir() else {}
    student = policy_of(iteration).policy_id
    opponent = DAGGER_LOOP.opponent_of(instance, store, iteration.key, student)
    if not (paths.bc_policy / CARD_FILE).is_file():
        raise UserError(f"iteration {iteration.key} has no imitating policy", "materialise bc_policy first")
    imitating = read_card(paths.bc_policy)
    own = imitating.iteration == iteration.iteration  # else it is what the iteration was opened on
    if own or imitating.policy_id != opponent:
        found[BC] = paths.bc_policy
    found[DPO] = iteration.policy
    if chosen.control.enabled:
        if not (paths.control / CARD_FILE).is_file():
            raise UserError(
                f"iteration {iteration.key} has no control ('{paths.control}')",
                "materialise bc_control of that iteration first, or set control.enabled=false",
            )
        found[CONTROL] = paths.control
    if opponent and not (own and imitating.policy_id == opponent):
        found[SERVING] = store.policy(PROGRAM, opponent)
    return found


def success_by_agent(figures: "TextFigures", split: str) -> "dict[str, Interval]":
    """What agents are called → their success in a split, in the order in which they are told of."""
    return {said: figures.agents[name][split].success for name, said in SPOKEN.items() if name in figures.agents}


def rounds_of(iteration: IterationPaths) -> "tuple[dict[str, list[RoundLog]], dict[str, int]]":
    """The rounds of an iteration's phases, and how many there were before each; the control's beside the second's."""
    from hitl_ops.training.agent_rounds_log import read_rounds

    paths = DaggerPaths(iteration)
    bc, dpo, control = (read_rounds(folder) for folder in (paths.bc, paths.dpo, paths.control_rounds))
    phases = {SPOKEN[BC]: bc, SPOKEN[DPO]: dpo, SPOKEN[CONTROL]: control}
    return {name: rounds for name, rounds in phases.items() if rounds}, {
        SPOKEN[DPO]: len(bc),
        SPOKEN[CONTROL]: len(bc),
    }


def agent_rows(figures: "TextFigures", policy_ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row an agent and split, for a table."""
    rows = []
    for name, said in SPOKEN.items():
        for split, found in figures.agents.get(name, {}).items():
            rows.append(
                {
                    "agent": said,
                    "split": split,
                    "id": policy_ids.get(name, ""),
                    "games": found.games,
                    "success": showing.interval(found.success.mean, found.success.low, found.success.high),
                    "steps": round(found.steps, 1),
                    "as the expert": "–" if found.agreement is None else f"{found.agreement:.1%}",
                    "did nothing": f"{found.invalid:.1%}",
                }
            )
    return rows
