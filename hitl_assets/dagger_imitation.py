"""The dagger program's first phase: an agent imitates the expert, and what came of it becomes a policy.

A thin layer over ``hitl_ops.training``. What prefers one answer to another afterwards is in ``dagger_preference``.
"""

# Annotations stay objects here; see `dagger_games`.

from typing import Any

import dagster as dg

from hitl_assets.dagger_games import dagger_games, games_file
from hitl_assets.dagger_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    DaggerPaths,
    dagger_base_policy,
    dagger_iterations,
    stage_tags,
)
from hitl_assets.dagger_phases import ROUND_SOURCES, base_of, phase_lesson, policy_metadata, rounds_result
from hitl_assets.launched_training import launch_training
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import DaggerPresetChoice
from hitl_assets.provenance import code_version, folder_hash
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

POLICY_SOURCES = (
    "contracts/policy_card.py",
    "samples/replay_buffer.py",
    "samples/round_rows.py",
    "training/publish_agent_policy.py",
)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch"},
    tags=stage_tags("rounds"),
    partitions_def=dagger_iterations,
    deps=[dagger_games, dagger_base_policy],
    code_version=code_version(*ROUND_SOURCES),
    pool="gpu",
    description=(
        "Rounds of imitation: the agent plays, an expert says at every step what it would have done, and the agent "
        "learns that (DAgger). Later iterations leave it out and go on with what serves, unless `loop.imitate_again` "
        "says otherwise.\n\n"
        "Runs as a process of its own, `flywheel train --program dagger --phase bc`, through Dagster Pipes; cut short, "
        "it goes on with the games that are missing, from its last checkpoint."
    ),
)
def expert_rounds(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Play and imitate, or go on with it."""
    from hitl_ops.models.planner_lm import MERGED_FOLDER

    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths, start, parent = DaggerPaths(iteration), None, "a new agent"
        if iteration.iteration:
            folder, parent = base_of(context.instance, store.open(), iteration.key)
            start = folder / MERGED_FOLDER
        if not chosen.imitates(iteration.iteration):
            progress.of_step(context)(1, 1, "left out")
            assert start is not None  # iteration 000 always imitates
            return dg.MaterializeResult(
                data_version=dg.DataVersion(folder_hash(start)),
                metadata={"rounds": "left out (loop.imitate_again)", "starts from": parent},
            )
        games = games_file(paths.games, "train")
        phase, validation = chosen.bc_phase(iteration.iteration), games_file(paths.games, "val")
        lesson = phase_lesson(paths.bc, phase, games, start=start, validation=validation)
        summary = launch_training(
            context, lesson, store.open(), iteration, launcher, tracker, progress.of_step(context)
        )
    return rounds_result(paths.bc, summary, tracker, starts_from=parent)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"safetensors"},
    tags=stage_tags("policy"),
    partitions_def=dagger_iterations,
    deps=[expert_rounds, dagger_base_policy],
    code_version=code_version(*POLICY_SOURCES),
    description=(
        "What imitation came to: the weights that trained, a policy card, and which answers of the expert they come "
        "from. Preferring starts from it and never leaves it far behind: it is the reference.\n\n"
        "Where an iteration does not imitate, this is the policy it was opened on, taken over as it is."
    ),
)
def bc_policy(
    context: dg.AssetExecutionContext,
    dagger_preset: DaggerPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Publish the phase's agent, or take over what serves."""
    from hitl_ops.samples.round_rows import phase_rows
    from hitl_ops.training.agent_rounds import GAMES
    from hitl_ops.training.publish_agent_policy import publish_agent_policy, take_over_policy

    told = progress.of_step(context)
    with mistakes_named():
        chosen = dagger_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = DaggerPaths(iteration)
        base = base_of(context.instance, store.open(), iteration.key) if iteration.iteration else None
        if not chosen.imitates(iteration.iteration):
            assert base is not None  # iteration 000 always imitates
            card = take_over_policy(base[0], paths.bc_policy)
        else:
            card = publish_agent_policy(
                paths.bc,
                paths.bc_policy,
                phase_rows("bc", paths.bc / GAMES),
                program=PROGRAM,
                iteration=iteration.iteration,
                parent=base[1] if base else chosen.agent.base,
                code_version=code_version(*ROUND_SOURCES),
            )
        told(1, 1, card.policy_id)
    return policy_metadata(paths.bc_policy, card)
