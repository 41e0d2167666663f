"""The station program's data: demonstrations, what stations sent in an epoch, and the data set of all of it.

A thin layer over ``hitl_ops.rollouts`` and ``hitl_ops.samples``. What is learned from the data set is in
``station_training``, what must hold of it in ``station_checks``.
"""

# Annotations stay objects here: Dagster does not recognise the context's type in a string, so this module must not
# import `annotations` from `__future__`.

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from hitl_assets import showing
from hitl_assets.claims import claim
from hitl_assets.mistakes import mistakes_named
from hitl_assets.preset_choice import StationPresetChoice
from hitl_assets.provenance import code_version, manifest_hash
from hitl_assets.station_iterations import (
    GROUP,
    OWNERS,
    PROGRAM,
    stage_tags,
    station_epoch,
    station_input,
    station_iterations,
)
from hitl_assets.station_presets import StationPreset
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.station_epoch import EpochFolder
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key
from hitl_ops.samples.station_dataset import StationDatasetConfig
from resources.progress import ProgressListener
from resources.store import StoreResource

if TYPE_CHECKING:
    pass

DEMONSTRATIONS = "demonstrations"
DATASET = "dataset"
SUMMARY_FILE = "dataset_summary.json"
RECORDING_SOURCES = ("contracts", "records", "samples/station_dataset.py", "samples/station_epochs.py")


def demonstrations_folder(store: Store) -> Path:
    """Where the scripted hand's demonstrations are kept; all iterations share them."""
    return store.iteration(PROGRAM, 0).rollouts / DEMONSTRATIONS


def dataset_folder(paths: IterationPaths) -> Path:
    """An iteration's data set."""
    return paths.samples / DATASET


def demonstration_files(store: Store, chosen: StationPreset) -> list[Path]:
    """The demonstrations the base policy learns from: the scripted hand's, or recordings of somebody's own.

    Raises:
        UserError: there are none.
    """
    from hitl_ops.records.station_hdf5 import list_station_episodes

    own = chosen.demonstrations.recordings
    folder = Path(own).expanduser() if own else demonstrations_folder(store) / "raw"
    files = list_station_episodes(folder) if folder.is_dir() else []
    if not files:
        raise UserError(f"'{folder}' holds no demonstrations", "materialise station_demonstrations first")
    return files if own else files[: chosen.demonstrations.episodes]


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "hdf5"},
    tags=stage_tags("demonstrations"),
    code_version=code_version(
        "contracts",
        "worlds/bimanual",
        "worlds/aloha",
        "worlds/robot_worlds.py",
        "experts/scripted_arms.py",
        "experts/scripted_aloha.py",
        "experts/scripted_robots.py",
        "rollouts/demonstrations.py",
        "rollouts/robot_episode.py",
    ),
    description=(
        "What the base policy learns from: demonstrations of a scripted hand whose care varies, recorded as a station "
        "records.\n\n"
        "Hands of differing noise take turns; they succeed and fail for physical reasons. Recordings of your own take "
        "their place with `demonstrations.recordings`. Shared by all iterations."
    ),
)
def station_demonstrations(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Record what is missing of them."""
    from hitl_ops.records.station_hdf5 import read_station_facts
    from hitl_ops.rollouts.demonstrations import record_demonstrations

    with mistakes_named():
        chosen = station_preset.resolve()
        section = chosen.demonstrations
        figures: dict[str, Any] = {}
        if not section.recordings:
            out = demonstrations_folder(store.open())
            made_from = section.scripted.model_dump(mode="json", exclude={"processes", "episodes"})
            claim(out, made_from)
            summary = record_demonstrations(section.scripted, out, progress.of_step(context))
            figures = {"recorded now": summary.recorded_now, "success": round(summary.success, 4)}
        files = demonstration_files(store.open(), chosen)
        facts = [read_station_facts(file) for file in files]
    told = {"good": 0, "bad": 0, "no verdict": 0}
    for one in facts:
        told[one.verdict or "no verdict"] += 1
    folder = files[0].parent
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest_hash(files, relative_to=folder)),
        metadata={
            "episodes": len(files),
            **figures,
            "said of them": showing.counts(told, of="verdict"),
            "hands": showing.counts(_counted(one.policy_id or "unknown" for one in facts), of="hand"),
            "world": chosen.world if not section.recordings else "as recorded",
            "folder": showing.path(folder),
        },
    )


def _counted(values: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"hdf5", "json"},
    tags=stage_tags("collection"),
    partitions_def=station_iterations,
    deps=[station_epoch],
    code_version=code_version(*RECORDING_SOURCES),
    description=(
        "What stations sent in this epoch: every file compared with its manifest, every episode read, and what was "
        "said of it, at the station or later.\n\n"
        "Only what a manifest names counts. Files that are not as it says are listed with the reason."
    ),
)
def station_recordings(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Look through the epoch."""
    from hitl_ops.samples.station_epochs import BALANCE_PLOT, RECORDINGS_FILE, look_through_epoch

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        folder = EpochFolder(store.open().station_incoming, chosen.collection.task, iteration.iteration)
        with store.opened_labels() as labels:
            found = look_through_epoch(folder, iteration.sessions, labels, progress.of_step(context))
    wrong = [*(f"{one.file}: {one.reason}" for one in found.damaged), *found.wrong_manifests]
    rows = [
        {
            "station": name or "station",
            "episodes": sum(one.station == name for one in found.episodes),
            "good": sum(one.station == name for one in found.judged("good")),
            "bad": sum(one.station == name for one in found.judged("bad")),
            "no verdict": sum(one.station == name for one in found.judged(None)),
            "aborted": sum(one.station == name for one in found.of_status("aborted")),
        }
        for name in found.stations
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(found.hash),
        metadata={
            "episodes": len(found.episodes),
            "good": len(found.judged("good")),
            "bad": len(found.judged("bad")),
            "without a verdict": len(found.judged(None)),
            "aborted": len(found.of_status("aborted")),
            "excluded": sum(one.excluded for one in found.episodes),
            "said later": sum(one.said_later for one in found.episodes),
            "damaged": len(found.damaged),
            "frames": sum(one.frames for one in found.episodes),
            "people's minutes": round(found.human_seconds / 60, 2),
            "stations": showing.table(rows),
            "policies": showing.counts(
                _counted(one.policy_id or "unknown" for one in found.episodes), of="policy that acted"
            ),
            "what is wrong": "; ".join(wrong) or "nothing",
            "labels": showing.pictures([iteration.sessions / BALANCE_PLOT]),
            "recordings": showing.path(folder.raw),
            "list": showing.path(iteration.sessions / RECORDINGS_FILE),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet", "json"},
    tags=stage_tags("samples"),
    partitions_def=station_iterations,
    deps=[station_demonstrations, station_recordings, station_input],
    code_version=code_version(*RECORDING_SOURCES),
    description=(
        "What is trained on: demonstrations and the episodes of all epochs so far, as a LeRobot v3 data set.\n\n"
        "What people said becomes each frame's prompt, `<task>, Advantage=True` or `False`, and a column `advantage`; "
        "norm_stats.json lies beside it in openpi's form. Videos that were encoded before are kept."
    ),
)
def station_dataset(
    context: dg.AssetExecutionContext,
    station_preset: StationPresetChoice,
    store: StoreResource,
    progress: dg.ResourceParam[ProgressListener],
) -> dg.MaterializeResult[Any]:
    """Make it of all there is."""
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.records.norm_stats import FILE_NAME, read_norm_stats
    from hitl_ops.samples.station_dataset import build_station_dataset
    from hitl_ops.samples.station_epochs import words_on

    with mistakes_named():
        chosen = station_preset.resolve()
        iteration = store.iteration(PROGRAM, context.partition_key)
        out = dataset_folder(iteration)
        files, left_out = recordings_of(store.open(), chosen, iteration.iteration)
        with store.opened_labels() as labels:
            verdicts, excluded = words_on(files, labels)
        earlier = [dataset_folder(store.iteration(PROGRAM, iteration_key(n))) for n in range(iteration.iteration)]
        summary = build_station_dataset(
            files,
            out,
            dataset_config(chosen),
            progress.of_step(context),
            verdicts=verdicts,
            exclude=excluded,
            earlier=[folder for folder in earlier if folder.is_dir()],
        )
        publish_json(iteration.samples / SUMMARY_FILE, summary)
        stats = read_norm_stats(out / FILE_NAME) if chosen.dataset.norm_stats else {}
    told = {"good": summary.good, "bad": summary.bad, "no verdict": summary.episodes - summary.good - summary.bad}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(summary.manifest_hash),
        metadata={
            "episodes": summary.episodes,
            "frames": summary.frames,
            "good": summary.good,
            "bad": summary.bad,
            "said of them": showing.counts(told, of="verdict"),
            "left out": showing.counts({why: len(names) for why, names in summary.excluded.items()}, of="reason"),
            "refused epochs left out": ", ".join(left_out) or "none",
            "said later": len(verdicts) + len(excluded),
            "videos encoded": summary.videos_encoded,
            "videos kept": summary.videos_kept,
            "norm stats": showing.table(
                [
                    {
                        "of": name,
                        "dimensions": len(one.mean),
                        "least deviation": float(f"{min(one.std):.3g}"),
                        "largest deviation": float(f"{max(one.std):.3g}"),
                    }
                    for name, one in stats.items()
                ]
                or [{"of": "none"}]
            ),
            "data set": showing.path(out),
        },
    )


def dataset_config(chosen: StationPreset) -> StationDatasetConfig:
    """How recordings become a data set: whatever each of them calls the task, it is the one of the preset."""
    return chosen.dataset if chosen.dataset.task else chosen.dataset.replace(task=chosen.collection.description)


def recordings_of(store: Store, chosen: StationPreset, iteration: int) -> tuple[list[Path], list[str]]:
    """The recordings of an iteration's data set, and keys of the refused epochs that are left out.

    Raises:
        UserError: there are no demonstrations, a file has gone, or a manifest cannot be read.
    """
    from hitl_ops.evaluation.gate import read_gate
    from hitl_ops.samples.station_epochs import collected_files

    refused = []
    if chosen.collection.refused_epochs == "leave_out":
        for earlier in range(1, iteration):
            verdict = read_gate(store.iteration(PROGRAM, earlier).evaluation)
            if verdict is not None and not verdict.promote:
                refused.append(earlier)
    epochs = [number for number in range(iteration + 1) if number not in refused]
    files = demonstration_files(store, chosen)
    files += collected_files(store.station_incoming, chosen.collection.task, epochs)
    return files, [iteration_key(number) for number in refused]
