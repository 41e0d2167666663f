"""The station program's examination: the new policy and the one that serves play the same episodes in simulation.

A thin layer over ``hitl_ops.evaluation``; who then serves is decided in ``station_promotion``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.provenance import EXAMINATION_SOURCES, code_version, manifest_hash
from hitl_assets.station_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    STATION_LOOP,
    stage_tags,
    station_input,
    station_iterations,
)
from hitl_assets.station_training import station_policy
from hitl_ops.contracts.store import IterationPaths, iteration_key
from hitl_ops.evaluation.summary import EvaluationSummary
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
    partitions_def=station_iterations,
    deps=[station_policy, station_input],
    code_version=code_version(*EXAMINATION_SOURCES),
    description=(
        "The policy's examination: it and the policy that serves play the same episodes in simulation, asked with "
        "`Advantage=True`, their chunks carried out as a station does.\n\n"
        "Success with intervals, paired comparison, latency of a chunk, a report page. What the serving policy has "
        "played under the same conditions before is not played again."
    ),
)
def station_evaluation(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    tracker: TrackerResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Let them play, score them, and write the report."""
    from hitl_ops.evaluation.evaluate import SUMMARY_FILE
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.robot_evaluation import evaluate_robot_policies
    from hitl_ops.serving.policy_alias import policy_of

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        student = policy_of(iteration).policy_id
        players, ids = {STUDENT: iteration.policy}, {STUDENT: student}
        opponent = STATION_LOOP.opponent_of(context.instance, store.open(), iteration.key, student)
        if opponent:
            players[SERVING], ids[SERVING] = store.open().policy(PROGRAM, opponent), opponent
        known = take_over_played(
            iteration, [store.iteration(PROGRAM, iteration_key(n)) for n in range(iteration.iteration)]
        )
        context.log.info(f"{known} groups of episodes were played before")
        summary = evaluate_robot_policies(
            players,
            iteration.evaluation,
            chosen.evaluation,
            progress.of_step(context),
            policy_ids=ids,
            code_version=code_version(*EXAMINATION_SOURCES),
        )
        report = write_report(iteration.evaluation, title=f"Station, iteration {context.partition_key}")
        figures = {name: value for name, value in summary.figures().items() if isinstance(value, int | float)}
        page = tracker.add(
            store.open(), PROGRAM, context.partition_key, figures, [report, iteration.evaluation / SUMMARY_FILE]
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([iteration.evaluation / SUMMARY_FILE], relative_to=iteration.evaluation)
        ),
        metadata={
            **({"MLflow (report)": dg.MetadataValue.url(page)} if page else {}),
            "success": round(summary.primary(STUDENT).success.mean, 4),
            "scores": showing.table(score_rows(summary)),
            "why episodes failed": showing.counts(_failures(iteration), of="reason"),
            "plots": showing.pictures(sorted((iteration.evaluation / "plots").glob("*.png"))),
            "report": showing.path(report),
        },
    )


def take_over_played(paths: IterationPaths, earlier: Iterable[IterationPaths]) -> int:
    """Lay what policies played in other evaluations beside this one's; returns how many groups of episodes.

    A group's file is named by policy, code, world and seeds, so that only what would be played just so is ever found.
    """
    from hitl_ops.evaluation.robot_evaluation import PARTS

    own = paths.evaluation / PARTS
    own.mkdir(parents=True, exist_ok=True)
    files = [file for one in earlier for file in sorted((one.evaluation / PARTS).glob("*.jsonl.gz"))]
    return sum(_linked(file, own / file.name) for file in files)


def _linked(file: Path, target: Path) -> bool:
    import os
    import shutil

    from hitl_ops.contracts.publish import publishing

    if target.exists():
        return False
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        with publishing(target) as temporary:
            shutil.copyfile(file, temporary)
    return True


def score_rows(summary: EvaluationSummary) -> list[dict[str, Any]]:
    """A row a policy, for a table."""
    rows = []
    for name in summary.policies:
        scores = summary.primary(name)
        rows.append(
            {
                "policy": name,
                "id": summary.policy_ids.get(name, ""),
                "episodes": scores.episodes,
                "success": showing.interval(scores.success.mean, scores.success.low, scores.success.high),
                "ms a chunk (median)": f"{scores.latency_ms.p50:.1f}" if scores.latency_ms else "–",
            }
        )
    return rows


def _failures(iteration: IterationPaths) -> dict[str, int]:
    """Why the student's episodes failed, the most frequent reason first."""
    from collections import Counter

    from hitl_ops.evaluation.evaluate import read_evaluation

    _, scores = read_evaluation(iteration.evaluation)
    return dict(Counter(one.explanation for one in scores[STUDENT].values() if not one.success).most_common())
