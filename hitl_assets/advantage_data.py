"""The advantage program's data: recordings, how far each of their frames is, and labels made of that.

A thin layer over ``hitl_ops.rollouts`` and ``hitl_ops.samples``. What is estimated from it is in
``advantage_estimation``, what is learned in ``advantage_policies``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.advantage_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    AdvantagePaths,
    advantage_iterations,
    stage_tags,
)
from hitl_assets.advantage_presets import AdvantagePreset
from hitl_assets.claims import claim
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import AdvantagePresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_ops.contracts.errors import UserError
from hitl_ops.rollouts.demonstrations import DemonstrationsConfig
from hitl_ops.samples.station_dataset import StationDatasetConfig
from resources.progress import ProgressListener
from resources.store import StoreResource

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.samples.advantage_labels import AdvantageLabelSummary

RECORDING_SOURCES = (
    "contracts",
    "worlds/bimanual",
    "worlds/aloha",
    "worlds/robot_worlds.py",
    "experts/scripted_arms.py",
    "experts/scripted_aloha.py",
    "rollouts/demonstrations.py",
    "rollouts/robot_episode.py",
    "samples/station_dataset.py",
)
PROGRESS_SOURCES = ("labels", "records/lerobot_overlay.py", "samples/progress.py", "samples/progress_rules.py")
LABEL_SOURCES = (
    "contracts/advantage_prompt.py",
    "records/lerobot_overlay.py",
    "samples/advantage_labels.py",
    "samples/stage_advantage.py",
)


def marked_dataset(chosen: AdvantagePreset, paths: AdvantagePaths) -> Path:
    """The data set whose progress is marked."""
    own = chosen.recordings.marked_dataset
    return Path(own).expanduser() if own else paths.marked_dataset


def new_dataset(chosen: AdvantagePreset, paths: AdvantagePaths) -> Path:
    """The data set that nobody has looked at."""
    own = chosen.recordings.new_dataset
    return Path(own).expanduser() if own else paths.new_dataset


def overlay_version(overlay: Path) -> str:
    """Hash of an overlay: the data version of what it holds."""
    from hitl_ops.records.lerobot_overlay import COLUMNS_FILE, FACTS_FILE

    return manifest_hash([overlay / COLUMNS_FILE, overlay / FACTS_FILE], relative_to=overlay)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"hdf5", "lerobot"},
    tags=stage_tags("recordings"),
    partitions_def=advantage_iterations,
    code_version=code_version(*RECORDING_SOURCES),
    description=(
        "Episodes of mixed quality, as two LeRobot data sets: a small one whose progress is marked, and a larger one "
        "that nobody looks at.\n\n"
        "A careful hand and careless ones take turns, and succeed or fail for physical reasons. Data sets of your own "
        "take their places with `recordings.marked_dataset` and `recordings.new_dataset`."
    ),
)
def advantage_recordings(
    context: dg.AssetExecutionContext,
    advantage_preset: AdvantagePresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Record what is missing of them, and bring them into LeRobot's format."""
    from hitl_ops.records.lerobot_overlay import dataset_fingerprint
    from hitl_ops.records.lerobot_reading import open_lerobot

    with mistakes_named():
        chosen = advantage_preset.resolve()
        paths = AdvantagePaths(store.iteration(PROGRAM, context.partition_key))
        told, recorded = progress.of_step(context), chosen.recordings
        if not recorded.marked_dataset:
            _record(recorded.marked, paths.marked_recordings, paths.marked_dataset, chosen.dataset, told)
        if not recorded.new_dataset:
            _record(recorded.new, paths.new_recordings, paths.new_dataset, chosen.dataset, told)
        sets = [open_lerobot(place) for place in (marked_dataset(chosen, paths), new_dataset(chosen, paths))]
        versions = [dataset_fingerprint(one) for one in sets]
    rows = []
    for name, one in zip(("marked", "new"), sets, strict=True):
        truths = [entry.facts.get("success") for entry in one.entries()]
        known = [truth for truth in truths if truth is not None]
        rows.append(
            {
                "episodes of": name,
                "episodes": one.info.total_episodes,
                "frames": one.info.total_frames,
                "success": f"{sum(known) / len(known):.0%}" if known else "not known",
                "cameras": len(one.info.video_keys),
            }
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion("-".join(one[:16] for one in versions)),
        metadata={
            "episodes": sum(one.info.total_episodes for one in sets),
            "data sets": showing.table(rows),
            "marked": showing.path(sets[0].root),
            "new": showing.path(sets[1].root),
        },
    )


def _record(
    config: DemonstrationsConfig, raw: Path, dataset: Path, how: StationDatasetConfig, progress: "Progress"
) -> None:
    """Record a scripted hand's episodes, and convert them where something changed."""
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.records.lerobot_layout import read_json
    from hitl_ops.rollouts.demonstrations import RAW, record_demonstrations
    from hitl_ops.samples.station_dataset import build_station_dataset

    claim(raw, config.model_dump(mode="json", exclude={"processes", "episodes"}))
    record_demonstrations(config, raw, progress)
    files = sorted((raw / RAW).glob("*.hdf5"))
    made_from = {
        "recordings": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "how": how.model_dump(mode="json"),
    }
    note = dataset.with_name(f"{dataset.name}.made_from.json")
    if dataset.is_dir() and note.is_file() and read_json(note) == made_from:
        return
    note.unlink(missing_ok=True)
    build_station_dataset(raw / RAW, dataset, how, progress=progress)
    publish_json(note, made_from)  # last: a kill before this makes the data set anew


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"lerobot", "parquet"},
    tags=stage_tags("progress"),
    partitions_def=advantage_iterations,
    deps=[advantage_recordings],
    code_version=code_version(*PROGRESS_SOURCES, "experts/scripted_marker.py"),
    description=(
        "How far each frame of the marked episodes is, from 0 to 1: `stage_progress_gt` and `progress_gt`, laid over "
        "the data set.\n\n"
        "By marks of stage boundaries (a person's on the page of `flywheel mark-progress`, or a scripted person's), "
        "by verdicts as normalised returns, or by a column that is there already."
    ),
)
def progress_dataset(
    context: dg.AssetExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.MaterializeResult[Any]:
    """Make progress of what was marked, judged or measured."""
    from hitl_ops.experts.scripted_marker import mark_dataset
    from hitl_ops.samples.progress import make_progress, stored_marks

    with mistakes_named():
        chosen = advantage_preset.resolve()
        paths = AdvantagePaths(store.iteration(PROGRAM, context.partition_key))
        dataset, marks = marked_dataset(chosen, paths), None
        if chosen.progress.source == "marks" and chosen.marking.by == "scripted":
            marks = {entry.index: said for entry, said in mark_dataset(dataset, chosen.marking.marker)}
        elif chosen.progress.source == "marks":
            labels = store.labels()
            if labels is None:
                raise UserError("nobody has marked anything yet", f"run `flywheel mark-progress {dataset}`")
            try:
                marks = stored_marks(labels, dataset, chosen.progress.stages)
            finally:
                labels.close()
        summary = make_progress(chosen.progress, dataset, paths.progress, marks=marks)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(overlay_version(paths.progress)),
        metadata={
            "source": summary.source,
            "episodes": summary.episodes,
            "frames": summary.frames,
            "finished": round(summary.finished, 4),
            "mean progress at the end": round(summary.mean_end, 4),
            "episodes that fall back": len(summary.falling),
            "reached": showing.table(
                [{"stage": stage, "episodes": f"{share:.0%}"} for stage, share in sorted(summary.reached.items())]
            ),
            "overlay": showing.path(paths.progress),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"lerobot", "parquet"},
    tags=stage_tags("labels"),
    partitions_def=advantage_iterations,
    deps=[progress_dataset],
    code_version=code_version(*LABEL_SOURCES),
    description=(
        "Advantage labels of the marked episodes: what a frame brings within a chunk, compared with all others "
        "(kai0's stage 0). What `flywheel label-advantage` does by hand."
    ),
)
def labeled_dataset(
    context: dg.AssetExecutionContext, advantage_preset: AdvantagePresetChoice, store: StoreResource
) -> dg.MaterializeResult[Any]:
    """Label the marked episodes."""
    from hitl_ops.samples.advantage_labels import label_advantage

    with mistakes_named():
        chosen = advantage_preset.resolve()
        paths = AdvantagePaths(store.iteration(PROGRAM, context.partition_key))
        paths.plots.mkdir(parents=True, exist_ok=True)
        summary = label_advantage(
            marked_dataset(chosen, paths),
            chosen.labels,
            overlay=paths.labeled,
            overlays=[paths.progress],
            plot=paths.plots / "labeled.png",
        )
    return labelled_result(summary, paths.labeled)


def labelled_result(summary: "AdvantageLabelSummary", overlay: Path) -> dg.MaterializeResult[Any]:
    """What Dagster shows of labels."""
    return dg.MaterializeResult(
        data_version=dg.DataVersion(overlay_version(overlay)),
        metadata={
            "frames": summary.frames,
            **({} if summary.share_positive is None else {"share positive": round(summary.share_positive, 4)}),
            "labels": showing.counts(dict(zip(summary.tasks, summary.labels, strict=True)), of="prompt"),
            "source": summary.config.column,
            **({} if summary.plot is None else {"advantages": showing.pictures([Path(summary.plot)])}),
            "overlay": showing.path(overlay),
        },
    )
