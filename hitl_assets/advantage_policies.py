"""The advantage program's policies: one that is told of each frame how good it was, its baselines, their examination.

A thin layer over ``hitl_ops.training`` and ``hitl_ops.evaluation`` (kai0's stage 3).
"""

# Annotations stay objects here; see `advantage_data`.

from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.advantage_data import new_dataset, overlay_version
from hitl_assets.advantage_estimation import advantage_dataset
from hitl_assets.advantage_iterations import GROUP, OWNERS, PROGRAM, AdvantagePaths, advantage_iterations, stage_tags
from hitl_assets.launched_training import LOG_FILE, Lesson, launch_training
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import AdvantagePresetChoice
from hitl_assets.provenance import EXAMINATION_SOURCES, code_version, manifest_hash
from hitl_assets.station_examination import score_rows
from hitl_assets.station_training import STATION_TRAINING_SOURCES, published
from hitl_ops.contracts.store import IterationPaths
from resources.launcher import LauncherResource
from resources.progress import ProgressListener
from resources.store import StoreResource
from resources.tracker import TrackerResource

POLICY_SOURCES = (*STATION_TRAINING_SOURCES, "contracts/advantage_prompt.py", "training/advantage_policies.py")
PROPER = "awbc"
"""The variant that is the program's policy; the others are what it is compared with."""


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pytorch", "safetensors"},
    tags=stage_tags("training"),
    partitions_def=advantage_iterations,
    deps=[advantage_dataset],
    code_version=code_version(*POLICY_SOURCES),
    pool="gpu",
    description=(
        "The policy (AWBC): told of each frame whether it was good, in the labels' own prompts, and asked with the "
        "best of them from then on. Beside it, from the same data: plain cloning, cloning of the good frames alone, "
        "advantage-weighted regression; each with several seeds.\n\n"
        "Runs as a process of its own, `flywheel train --program advantage`, through Dagster Pipes; every training "
        "goes on from its last checkpoint. `policy/` holds the one of the first seed, ready for `flywheel serve`."
    ),
)
def awbc_policy(
    context: dg.AssetExecutionContext,
    advantage_preset: AdvantagePresetChoice,
    store: StoreResource,
    launcher: LauncherResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Train all of them, or go on with it, and make policies of what came out."""
    from hitl_ops.training.advantage_config import policy_name

    told = progress.of_step(context)
    with mistakes_named():
        chosen = advantage_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        paths = AdvantagePaths(iteration)
        dataset, config = new_dataset(chosen, paths), chosen.policies
        launch_training(
            context,
            Lesson(
                dataset,
                paths.policies,
                config,
                {
                    "config": config.model_dump(mode="json", exclude={"at_once", "variants", "seeds"}),
                    "labels": overlay_version(paths.advantage),
                    "estimates": overlay_version(paths.estimated),
                },
                1,
                ("--program", PROGRAM, "--overlay", str(paths.estimated), "--overlay", str(paths.advantage)),
            ),
            store.open(),
            iteration,
            launcher,
            tracker,
            told,
        )
        cards = {
            name: published(paths.policies / name, dataset, iteration, asset="awbc_policy", sources=POLICY_SOURCES)
            for name in config.names
        }
        if PROPER in config.variants:
            _published_as_the_policy(paths.policies / policy_name(PROPER, config.seeds[0]), iteration)
    files = [file for name in config.names for file in sorted((paths.policies / name / "merged").glob("*"))]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(files, relative_to=paths.policies)),
        metadata={
            "policies": showing.table(
                [
                    {
                        "policy": name,
                        "id": card.policy_id,
                        "frames": sum(card.sample_counts.values()),
                        "validation loss": round(card.metrics.get("validation_loss", float("nan")), 4),
                    }
                    for name, card in cards.items()
                ]
            ),
            "policy": showing.path(iteration.policy),
            "log": showing.path(paths.policies / LOG_FILE),
        },
    )


def _published_as_the_policy(source: Path, iteration: IterationPaths) -> None:
    """Lay the program's policy where an iteration's policy is looked for; weights, provenance and card in one step."""
    import shutil

    from hitl_ops.contracts.publish import publishing
    from hitl_ops.models.planner_lm import CARD_FILE
    from hitl_ops.models.robot_policy import WEIGHTS_FOLDER
    from hitl_ops.samples.provenance import PROVENANCE_FILE

    with publishing(iteration.policy) as temporary:
        temporary.mkdir()
        shutil.copytree(source / WEIGHTS_FOLDER, temporary / WEIGHTS_FOLDER)
        for name in (PROVENANCE_FILE, CARD_FILE):
            shutil.copyfile(source / name, temporary / name)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "html"},
    tags=stage_tags("evaluation"),
    partitions_def=advantage_iterations,
    deps=[awbc_policy],
    code_version=code_version(*EXAMINATION_SOURCES),
    description=(
        "The policies' examination: all of them play the same episodes in simulation, in scenes none has learned "
        "from; each is asked in the very words it was trained with.\n\n"
        "Success with intervals for each, paired comparisons, and the seeds of each taken together."
    ),
)
def awbc_evaluation(
    context: dg.AssetExecutionContext,
    advantage_preset: AdvantagePresetChoice,
    store: StoreResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let them play, score them, and write the report."""
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.robot_evaluation import evaluate_robot_policies
    from hitl_ops.models.planner_lm import read_card

    with mistakes_named():
        chosen = advantage_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        players = {name: AdvantagePaths(iteration).policies / name for name in chosen.policies.names}
        summary = evaluate_robot_policies(
            players,
            iteration.evaluation,
            chosen.evaluation,
            progress.of_step(context),
            policy_ids={name: read_card(folder).policy_id for name, folder in players.items()},
            code_version=code_version(*EXAMINATION_SOURCES),
        )
        report = write_report(iteration.evaluation, title=f"Advantage, iteration {context.partition_key}")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([iteration.evaluation / SUMMARY_FILE], relative_to=iteration.evaluation)
        ),
        metadata={
            "success": round(summary.primary(chosen.policies.names[0]).success.mean, 4),
            "scores": showing.table(score_rows(summary)),
            "plots": showing.pictures(sorted((iteration.evaluation / "plots").glob("*.png"))),
            "report": showing.path(report),
        },
    )
