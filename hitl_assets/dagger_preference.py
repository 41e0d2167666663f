"""The dagger program's second phase: an agent learns which answer is better, beside one that goes on imitating.

A thin layer over ``hitl_ops.training`` and ``hitl_ops.samples``.
"""

# Annotations stay objects here; see `dagger_games`.

from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.dagger_games import dagger_games, games_file
from hitl_assets.dagger_imitation import POLICY_SOURCES, bc_policy
from hitl_assets.dagger_iterations import GROUP, OWNERS, PROGRAM, DaggerPaths, dagger_iterations, stage_tags
from hitl_assets.dagger_phases import (
    ROUND_SOURCES,
    bc_agent,
    bc_replay,
    correction_files,
    dpo_replay,
    phase_lesson,
    policy_metadata,
    rounds_result,
    skipped_games,
)
from hitl_assets.launched_training import launch_training
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.provenance import code_version
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch"},
    tags=stage_tags("rounds"),
    partitions_def=dagger_iterations,
    deps=[bc_policy, dagger_games],
    code_version=code_version(*ROUND_SOURCES),
    pool="gpu",
    description=(
        "Rounds of preference: the agent that imitation left plays on, and where it would have done otherwise than "
        "the expert it learns to prefer the expert's answer to its own (DPO with the likelihood of the better answer "
        "mixed in). The agent it starts from is the reference, and stays as it was.\n\n"
        "Runs as a process of its own, `flywheel train --program dagger --phase dpo`; cut short, it goes on."
    ),
)
def preference_rounds(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Play and prefer, or go on with it."""
    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths, start = DaggerPaths(iteration), bc_agent(iteration)
        games = games_file(paths.games, "train")
        lesson = phase_lesson(
            paths.dpo,
            chosen.dpo_phase(iteration.iteration),
            games,
            skipped_games(chosen, games, iteration.iteration),
            start=start[0],
            replay=dpo_replay(chosen, store.open(), iteration),
            pairs=correction_files(chosen, store.open()),
            validation=games_file(paths.games, "val"),
        )
        summary = launch_training(
            context, lesson, store.open(), iteration, launcher, tracker, progress.of_step(context)
        )
    return rounds_result(paths.dpo, summary, tracker, starts_from=start[1])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"json"},
    tags=stage_tags("samples"),
    partitions_def=dagger_iterations,
    deps=[preference_rounds],
    code_version=code_version("contracts", "records/round_games.py", *POLICY_SOURCES),
    description=(
        "What was preferred to what: every pair the second phase learned from, with the game and the step it comes "
        "from, and a data card.\n\n"
        "With `replay.bc_games` and `replay.earlier_iterations`, pairs of earlier games are among them; with "
        "`replay.corrections`, annotators' corrections of the planner program."
    ),
)
def preference_pairs(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Read the games, and write down what they taught."""
    from hitl_ops.samples.preference_pairs import read_preference_pairs
    from hitl_ops.samples.round_rows import CARD_FILE, PAIRS_FILE, PLOT_FILE, correction_rows, phase_rows, write_pairs
    from hitl_ops.training.agent_rounds import GAMES, replayed_games
    from hitl_ops.training.agent_rounds_log import read_corrections, read_rounds_summary

    told = progress.of_step(context)
    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        phase = DaggerPaths(iteration).dpo
        summary, corrections = read_rounds_summary(phase), read_corrections(phase)
        earlier = replayed_games(dpo_replay(chosen, store.open(), iteration))
        rows = phase_rows("dpo", phase / GAMES, replay=earlier)
        files = correction_files(chosen, store.open()) if corrections.used else []
        found = [pair for file in files for pair in read_preference_pairs(file)]
        card = write_pairs(
            iteration.samples,
            [*correction_rows(found, corrections.used), *rows],
            labelled=sum(one.labelled for one in summary.rounds),
            agreed=sum(round((one.agreement or 0.0) * one.labelled) for one in summary.rounds),
            missing=sum(one.missing for one in summary.rounds),
            too_long=corrections.too_long,
        )
        told(1, 1, f"{card.pairs} pairs")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(card.content_hash),
        metadata={
            "pairs": card.pairs,
            "games": card.games,
            "steps with a label": card.labelled,
            "of these as the expert": card.agreed,
            "steps without a label": card.missing,
            "say the same as an earlier one": card.alike,
            "corrections left out, too long": card.too_long,
            "sources": showing.counts(card.sources, of="source"),
            "by round": showing.counts(card.rounds, of="round"),
            "families": showing.counts(card.families, of="family"),
            "plot": showing.pictures([iteration.samples / PLOT_FILE]),
            "file": showing.path(iteration.samples / PAIRS_FILE),
            "data card": showing.path(iteration.samples / CARD_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"safetensors"},
    tags=stage_tags("policy"),
    partitions_def=dagger_iterations,
    deps=[preference_rounds, preference_pairs, bc_policy],
    code_version=code_version(*POLICY_SOURCES),
    description=(
        "The iteration's policy: what preferring made of the imitating one. Its weights, a policy card whose parent "
        "is the reference, and the pairs they come from."
    ),
)
def dpo_policy(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Publish the phase's agent."""
    from hitl_ops.samples.round_rows import read_pairs
    from hitl_ops.training.publish_agent_policy import publish_agent_policy

    told = progress.of_step(context)
    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        rows, _ = read_pairs(iteration.samples)
        card = publish_agent_policy(
            DaggerPaths(iteration).dpo,
            iteration.policy,
            rows,
            program=PROGRAM,
            iteration=iteration.iteration,
            parent=bc_agent(iteration)[1],
            code_version=code_version(*ROUND_SOURCES),
        )
        told(1, 1, card.policy_id)
    return policy_metadata(iteration.policy, card)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("control"),
    partitions_def=dagger_iterations,
    # Nothing of it comes from the preferring policy; it is trained after it, and only where there is one to compare.
    deps=[dpo_policy, bc_policy, dagger_games],
    code_version=code_version(*ROUND_SOURCES),
    pool="gpu",
    description=(
        "What preferring is compared with: the same agent goes on imitating, for as many rounds of the same games. "
        "What preferring adds is the difference. It never serves.\n\n"
        "`control.enabled` says whether there is one."
    ),
)
def bc_control(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Play and imitate on, or go on with it."""
    from hitl_ops.samples.round_rows import phase_rows
    from hitl_ops.training.agent_rounds import GAMES, replayed_games
    from hitl_ops.training.publish_agent_policy import publish_agent_policy

    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        if not chosen.control.enabled:
            progress.of_step(context)(1, 1, "left out")
            return dg.MaterializeResult(metadata={"control": "left out (control.enabled)"})
        paths, start = DaggerPaths(iteration), bc_agent(iteration)
        games, replay = games_file(paths.games, "train"), bc_replay(chosen, iteration)
        lesson = phase_lesson(
            paths.control_rounds,
            chosen.control_phase(iteration.iteration),
            games,
            skipped_games(chosen, games, iteration.iteration),
            start=start[0],
            replay=replay,
            validation=games_file(paths.games, "val"),
        )
        summary = launch_training(
            context, lesson, store.open(), iteration, launcher, tracker, progress.of_step(context)
        )
        publish_agent_policy(
            paths.control_rounds,
            paths.control,
            phase_rows("bc", paths.control_rounds / GAMES, replay=replayed_games(replay)),
            program=PROGRAM,
            iteration=iteration.iteration,
            parent=start[1],
            code_version=code_version(*ROUND_SOURCES),
        )
    return rounds_result(paths.control_rounds, summary, tracker, starts_from=start[1])
