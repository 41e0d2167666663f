"""The planner program's annotators: what they are shown of people's plays, and the samples out of what they say.

A thin layer over ``hitl_ops.samples`` and ``hitl_ops.evaluation``. The corrections themselves come from the annotation
page, through the label store; ``sensors.annotation`` starts what follows when there are enough of them.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from typing import Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.mistakes import mistakes_named
from hitl_assets.planner import household_episodes, stage_tags
from hitl_assets.planner_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    annotation_labels,
    collected_plays,
    planner_iterations,
)
from hitl_assets.planner_sessions import session_logs
from hitl_assets.preset_choice import PresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from resources.progress import ProgressListener
from resources.store import StoreResource

EXPERT = "expert"
_RECORDS = ("contracts", "records")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    tags=stage_tags("annotation"),
    partitions_def=planner_iterations,
    deps=[session_logs, collected_plays],
    code_version=code_version(*_RECORDS, "samples/annotation_queue.py"),
    description=(
        "What annotators look at first: people's plays in the order of what a correction would teach.\n\n"
        "By the policy's doubt, by nearness to failure, and by what a play left undone; `annotation.queue` weighs the "
        "three. The annotation page shows the plays in this order, and points at decisions worth a look."
    ),
)
def annotation_queue(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Rank the listed plays."""
    from hitl_ops.samples.annotation_queue import QUEUE_FILE, rank_plays
    from hitl_ops.samples.collected_plays import read_play_manifest

    with mistakes_named():
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        config = preset.resolve().annotation.queue
        queue = rank_plays(read_play_manifest(sessions), sessions, config, progress.of_step(context))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash([sessions / QUEUE_FILE], relative_to=sessions)),
        metadata={
            "plays": len(queue),
            "decisions worth a look": sum(len(play.decisions_worth_a_look) for play in queue),
            "first": showing.table(
                [
                    {
                        "play": play.play_id,
                        "episode": play.episode_id,
                        "success": play.success,
                        "value": round(play.value, 3),
                        "why": "; ".join(play.reasons),
                        "decisions": ", ".join(map(str, play.decisions_worth_a_look)),
                    }
                    for play in queue[:20]
                ]
                or [{"play": "none"}]
            ),
            "file": showing.path(sessions / QUEUE_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python"},
    tags=stage_tags("annotation"),
    partitions_def=planner_iterations,
    deps=[session_logs, annotation_queue, collected_plays],
    code_version=code_version(
        *_RECORDS,
        "worlds/household/renderer",
        "evaluation/play_film.py",
        "evaluation/session_videos.py",
        "rollouts/session_replay.py",
    ),
    description=(
        "People's plays on video, the most instructive first: both agents' views, the plan, and what each does.\n\n"
        "Several are filmed at a time, and a finished film is kept; `videos.most_plays` says how far down the queue."
    ),
)
def session_videos(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Film what is not filmed yet."""
    from hitl_ops.evaluation.session_videos import LIST_FILE, VIDEO_FOLDER, record_session_videos
    from hitl_ops.samples.annotation_queue import read_annotation_queue
    from hitl_ops.samples.collected_plays import read_play_manifest

    with mistakes_named():
        sessions = store.iteration(PROGRAM, context.partition_key).sessions
        chosen = preset.resolve()
        summary = record_session_videos(
            read_play_manifest(sessions),
            sessions,
            [play.play_id for play in read_annotation_queue(sessions)],
            chosen.videos,
            progress.of_step(context),
            chosen.scene,
        )
    folder = sessions / VIDEO_FOLDER
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            manifest_hash([sessions / file for video in summary.videos for file in video.files], relative_to=sessions)
        ),
        metadata={
            "videos": len(summary.videos),
            "made now": summary.made_now,
            "videos a minute": round(summary.videos_per_minute, 2),
            "not filmed": len(summary.unfilmed),
            "why not": showing.table(
                [{"play": play.play_id, "why": play.reason} for play in summary.unfilmed] or [{"play": "none"}]
            ),
            "seconds": round(summary.seconds, 1),
            "posters": showing.pictures([sessions / video.poster for video in summary.videos[:4]]),
            "folder": showing.path(folder),
            "list": showing.path(folder / LIST_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet", "sqlalchemy"},
    tags=stage_tags("samples"),
    partitions_def=planner_iterations,
    deps=[annotation_labels, session_logs, collected_plays, household_episodes],
    code_version=code_version(*_RECORDS, "labels/opinions.py", "samples"),
    description=(
        "Annotators' lessons: every decision they correct, with exactly the prompt the policy chose from.\n\n"
        "Of each annotator the last word counts; where several looked, most of them decide. Weight 5. Beside the file "
        "lie preference pairs of the same corrections, ready for DPO, and a data card."
    ),
)
def expert_samples(
    context: dg.AssetExecutionContext,
    preset: PresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Make samples of what annotators say now."""
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.labels.opinions import agreement, opinions
    from hitl_ops.rollouts.episode_sets import episode_file
    from hitl_ops.samples.annotation_queue import judged_decisions
    from hitl_ops.samples.collected_plays import read_play_manifest
    from hitl_ops.samples.data_card import write_data_card
    from hitl_ops.samples.expert import PAIRS_FILE, build_expert_samples
    from hitl_ops.samples.export_text import export_sample_texts

    with mistakes_named():
        chosen = preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        manifest = read_play_manifest(iteration.sessions)
        labels = store.labels()
        if labels is None:
            raise UserError("nobody has played yet: there is no label store", "invite people with `flywheel collect`")
        try:
            said = opinions(labels, PROGRAM, iteration.iteration)
        finally:
            labels.close()
        file, beside = iteration.samples / f"{EXPERT}.parquet", iteration.samples / EXPERT
        summary = build_expert_samples(
            manifest,
            iteration.sessions,
            said,
            chosen.annotation.expert,
            file,
            progress.of_step(context),
            expected={episode.episode_id for episode in read_episodes(episode_file(store.open().episodes, "train"))},
        )
        agreed = agreement(said, judged_decisions(manifest, iteration.sessions))
        card = write_data_card(file, beside)
        publish_json(beside / "left_out.json", [left.model_dump(mode="json") for left in summary.left_out])
        texts = export_sample_texts(file, iteration.samples / "text") if chosen.training.export_texts else 0
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{summary.manifest_hash}-{summary.pairs_hash}"),
        metadata={
            "samples": summary.samples,
            "preference pairs": summary.pairs,
            "plays": summary.plays,
            "plays reviewed": summary.reviewed,
            "decisions corrected": summary.corrected,
            "decided during play": summary.in_play,
            "annotators' minutes": round(summary.seconds / 60, 2),
            "annotators agree": "nobody looked twice" if agreed.alike is None else round(agreed.alike, 4),
            "Cohen's kappa": "not defined" if agreed.kappa is None else round(agreed.kappa, 4),
            "weight": summary.weight,
            "by annotator": showing.counts(summary.by_annotator, of="annotator"),
            "actions": showing.counts(summary.by_tool, of="action"),
            "dropped": showing.counts(summary.dropped, of="reason"),
            "what people said": summary.opinions_hash,
            "warnings": "; ".join(card.warnings) or "none",
            "plots": showing.pictures(sorted((beside / "plots").glob("*.png"))),
            "file": showing.path(file),
            "pairs": showing.path(iteration.samples / PAIRS_FILE),
            "data card": showing.path(beside / "data_card.md"),
            "left out": showing.path(beside / "left_out.json"),
            "texts": texts,
        },
    )


REVIEW_ASSETS: list[dg.AssetsDefinition] = [annotation_queue, session_videos]
"""What is made of people's plays for those who judge them."""
