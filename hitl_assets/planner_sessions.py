"""The planner program's people: their sessions with a policy, how they went, and what of them is taught.

A thin layer over ``hitl_ops.samples``. The sessions themselves come from the collection app, through the label store
and the files beside it; ``sensors.collection`` starts these three, and what ``planner_corrections`` makes of them for
annotators, when enough have come. What must hold of the results is in ``planner_session_checks``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Mapping
from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner import household_episodes, stage_tags
from hitl_assets.planner_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    base_policy,
    collected_plays,
    planner_iterations,
)
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from resources.progress import ProgressListener
from resources.store import StoreResource

HUMAN_GOLD = "human_gold"
_RECORDS = ("contracts", "records")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"json", "sqlalchemy"},
    tags=stage_tags("sessions"),
    partitions_def=planner_iterations,
    deps=[collected_plays, base_policy],
    code_version=code_version(*_RECORDS, "labels", "samples/collected_plays.py"),
    description=(
        "People at work: every finished play of the iteration, from the collection app.\n\n"
        "The label store says which plays there are, their logs, episode files and traces how they went; a play whose "
        "files are missing, damaged or say otherwise is named. Replay one with `flywheel replay`."
    ),
)
def session_logs(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Read every play's record and list it, or say what is wrong with it."""
    from hitl_ops.samples.collected_plays import MANIFEST_FILE, collect_plays

    with mistakes_named():
        iteration = store.iteration(PROGRAM, context.partition_key)
        labels = store.labels()
        if labels is None:
            raise UserError("nobody has played yet: there is no label store", "invite people with `flywheel collect`")
        try:
            manifest = collect_plays(labels, iteration, progress.of_step(context))
        finally:
            labels.close()
    plays = manifest.plays
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.hash),
        metadata={
            "plays": len(plays),
            "success": round(sum(play.success for play in plays) / max(1, len(plays)), 4),
            "human minutes": round(sum(play.seconds for play in plays) / 60, 2),
            "people": len({play.participant_id for play in plays}),
            "sessions": len({play.session_id for play in plays}),
            "episodes": len({play.episode_id for play in plays}),
            "broken": len(manifest.broken),
            "what is broken": showing.table(
                [{"play": broken.play_id, "what": broken.reason} for broken in manifest.broken]
                or [{"play": "none", "what": ""}]
            ),
            "never begun": len(manifest.never_begun),
            "reported": sum(play.reported for play in plays),
            "task types": showing.counts(_counted(play.task_type for play in plays), of="task type"),
            "ended by": showing.counts(_counted(play.ended_by for play in plays), of="ended by"),
            "list": showing.path(iteration.sessions / MANIFEST_FILE),
            "folder": showing.path(iteration.sessions),
        },
    )


def _counted(names: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet", "json"},
    tags=stage_tags("sessions"),
    partitions_def=planner_iterations,
    deps=[session_logs, collected_plays],
    code_version=code_version(*_RECORDS, "samples/play_scores.py"),
    description=(
        "How people's plays went: a row a play with success, percent complete, steps, seconds and who did how much.\n\n"
        "A play is a success above 99 % of its task, PARTNR's threshold for people. Summed up by participant and by "
        "task type, with plots."
    ),
)
def session_scores(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Score the listed plays."""
    from hitl_ops.samples.collected_plays import read_play_manifest
    from hitl_ops.samples.play_scores import PLOT_FOLDER, SCORES_FILE, SUMMARY_FILE, score_plays

    with mistakes_named():
        folder = store.iteration(PROGRAM, context.partition_key).sessions
        summary = score_plays(read_play_manifest(folder), folder, progress.of_step(context))
    total = summary.total
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([folder / SCORES_FILE, folder / SUMMARY_FILE], relative_to=folder)),
        metadata={
            "plays": total.plays,
            "success": round(total.success, 4),
            "percent complete": round(total.percent_complete, 4),
            "episodes": total.episodes,
            "episodes solved": total.episodes_solved,
            "human minutes": round(total.minutes, 2),
            "human minutes a success": round(total.minutes / total.successes, 3) if total.successes else "no success",
            "steps a play": round(total.steps, 1),
            "seconds a play": round(total.seconds, 1),
            "human actions a play": round(total.human_actions, 2),
            "partner's actions a play": round(total.ai_actions, 2),
            "corrections": total.corrections,
            "by task type": showing.table(_rows(summary.by_task_type, "task type")),
            "by participant": showing.table(_rows(summary.by_participant, "participant")),
            "plots": showing.pictures(sorted((folder / PLOT_FOLDER).glob("*.png"))),
            "file": showing.path(folder / SCORES_FILE),
        },
    )


def _rows(groups: Mapping[str, Any], of: str) -> list[dict[str, Any]]:
    """Groups of plays as rows of a table; one row that says so where there are none."""
    return [
        {
            of: name,
            "plays": group.plays,
            "success": f"{group.success:.0%}",
            "percent complete": f"{group.percent_complete:.1%}",
            "seconds": round(group.seconds, 1),
            "human actions": round(group.human_actions, 1),
            "partner's actions": round(group.ai_actions, 1),
            "corrections": group.corrections,
        }
        for name, group in groups.items()
    ] or [{of: "no play"}]


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    tags=stage_tags("samples"),
    partitions_def=planner_iterations,
    deps=[session_scores, household_episodes, collected_plays],
    code_version=code_version(*_RECORDS, "samples"),
    description=(
        "People's lessons: of every training episode the best successful attempt, whoever made it, as samples.\n\n"
        "Both sides of a play are taken, the person's acts as the decisions a planner would have had to make; "
        "`human_gold.samples.roles` takes one alone. Weight 1, percent cut 0.75; a data card lies beside the file."
    ),
)
def human_gold_samples(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Choose the best attempts and cut samples out of them."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.rollouts.episode_sets import episode_file
    from hitl_ops.samples.data_card import write_data_card
    from hitl_ops.samples.export_text import export_sample_texts
    from hitl_ops.samples.human_gold import build_human_gold
    from hitl_ops.samples.play_scores import read_scores

    with mistakes_named():
        chosen = preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        section = chosen.human_gold
        config = section.replace(samples={**section.samples.model_dump(), "iteration": iteration.iteration})
        scores, _ = read_scores(iteration.sessions)
        file, beside = iteration.samples / f"{HUMAN_GOLD}.parquet", iteration.samples / HUMAN_GOLD
        summary = build_human_gold(
            scores,
            iteration.sessions,
            config,
            file,
            progress.of_step(context),
            expected={episode.episode_id for episode in read_episodes(episode_file(store.open().episodes, "train"))},
        )
        card = write_data_card(file, beside)
        publish_json(beside / "chosen_plays.json", [play.model_dump(mode="json") for play in summary.chosen])
        texts = export_sample_texts(file, iteration.samples / "text") if chosen.training.export_texts else 0
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.manifest_hash),
        metadata={
            "samples": summary.samples,
            "episodes": summary.episodes_kept,
            "plays": summary.plays,
            "plays successful": summary.plays_successful,
            "plays reported": summary.plays_reported,
            "episodes cut": summary.episodes_cut,
            "episodes not expected": summary.episodes_not_expected,
            "weight": summary.weight,
            "roles": ", ".join(config.samples.roles),
            "actions": showing.counts(card.actions, of="action"),
            "task types": showing.counts(card.by_task_type, of="task type"),
            "who acted": showing.counts(card.by_policy, of="policy"),
            "dropped": showing.counts(summary.dropped, of="reason"),
            "warnings": "; ".join(card.warnings) or "none",
            "plots": showing.pictures(sorted((beside / "plots").glob("*.png"))),
            "file": showing.path(file),
            "data card": showing.path(beside / "data_card.md"),
            "chosen plays": showing.path(beside / "chosen_plays.json"),
            "texts": texts,
        },
    )


SESSION_ASSETS: list[dg.AssetsDefinition] = [session_logs, session_scores, human_gold_samples]
