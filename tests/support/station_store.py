"""A store in which the station's loop turns at the smallest scale, its stations played by recordings made up."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from hitl_assets.definitions import build_defs
from hitl_assets.station_opening import open_station_iteration
from hitl_assets.station_presets import StationPreset, chosen_station_preset
from hitl_assets.station_versions import report_station_versions
from hitl_ops.contracts.config import load_config
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.station_epoch import EpochFolder, EpochManifest, make_manifest, publish_manifest
from hitl_ops.contracts.store import Store, iteration_key
from hitl_ops.records.station_episode import StationEpisodeWriter
from hitl_ops.records.station_hdf5 import Verdict
from hitl_ops.training.action_config import ActionTrainConfig
from resources.launcher import LauncherResource
from resources.store import StoreResource
from resources.tracker import TrackerResource

OVERRIDES = ("demonstrations.episodes=2",)


class TrainsRobotsHere(LauncherResource):
    """Trains in this process: a verb of its own would import everything anew each time."""

    def launch(
        self,
        context: dg.AssetExecutionContext,
        arguments: Sequence[str],
        *,
        log: Path,
        progress: Progress,
        processes: int = 1,
        environment: Any = None,
    ) -> dict[str, Any]:
        """Run ``train --program station``; see :meth:`LauncherResource.launch`."""
        from hitl_ops.training.action_policy import train_action_policy

        def told(option: str) -> str:
            return arguments[arguments.index(option) + 1]

        assert told("--program") == "station"
        log.touch()
        config = load_config(ActionTrainConfig, told("--config"))
        start = Path(told("--base")) if "--base" in arguments else None
        summary = train_action_policy(config, Path(told("--samples")), Path(told("--out")), progress, start=start)
        return summary.model_dump(mode="json")


@dataclass
class StationLoop:
    """The store, and Dagster's instance that works on it.

    Attributes:
        store: holds everything.
        instance: Dagster's.
    """

    store: Store
    instance: dg.DagsterInstance

    def preset(self, *overrides: str) -> StationPreset:
        """What runs work at."""
        return chosen_station_preset("tiny_ci", [*OVERRIDES, *overrides])

    def run(
        self, job: str, iteration: int, *overrides: str, only: Iterable[str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the graph for an iteration, told before what came in and what was said of it.

        Args:
            job: its name.
            iteration: which.
            overrides: laid over the preset tiny_ci.
            only: assets of the job to make; all by default.
        """
        report_station_versions(self.instance, self.store)
        definitions = build_defs(
            resource_overrides={
                "store": StoreResource(home=str(self.store.root)),
                "launcher": TrainsRobotsHere(),
                "tracker": TrackerResource(enabled=False),
            }
        )
        config = {"name": "tiny_ci", "overrides": [*OVERRIDES, *overrides]}
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=iteration_key(iteration),
            asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
            run_config={"resources": {"station_preset": {"config": config}}},
            raise_on_error=False,
        )

    def open(self, iteration: int, *overrides: str) -> str:
        """Open an iteration on what serves."""
        return open_station_iteration(self.instance, self.store, iteration, self.preset(*overrides))

    def stale(self) -> set[tuple[str, str]]:
        """Everything of the program that Dagster marks as stale: asset and partition, "" where there is none."""
        from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
        from dagster._core.loader import LoadingContextForTest

        graph = build_defs().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        partitions = self.instance.get_dynamic_partitions("station_iterations")
        found = set()
        for node in graph.asset_nodes:
            if node.group_name != "station":
                continue
            for key in partitions if node.is_partitioned else [None]:
                if resolver.get_status(node.key, key) is StaleStatus.STALE:
                    found.add((node.key.to_user_string(), key or ""))
        return found


def collect(
    store: Store,
    epoch: int,
    verdicts: Sequence[Verdict | None],
    *,
    station: str = "",
    task: str = "lift_lid",
    aborted: int = 0,
    frames: int = 25,
) -> EpochManifest:
    """Let a station have finished an epoch: recordings of arms that move a little, and the manifest.

    Args:
        store: takes them in.
        epoch: its number.
        verdicts: of each finished episode.
        station: its name.
        task: name of the task.
        aborted: further episodes that were broken off.
        frames: of each.
    """
    folder = EpochFolder(store.station_incoming, task, epoch)
    for number, verdict in enumerate([*verdicts, *[None] * aborted]):
        _record(folder.episode(number, station), epoch, number, verdict, number >= len(verdicts), frames)
    manifest = make_manifest(folder, station)
    publish_manifest(folder, manifest)
    return manifest


def _record(path: Path, epoch: int, number: int, verdict: Verdict | None, broken_off: bool, frames: int) -> None:
    spec, home, around = _arms()
    writer = StationEpisodeWriter(path, spec, "Lift the lid off the bowl", "policy-1", epoch, sim=True)
    for frame in range(frames):
        pose = home + np.float32(0.05 * np.sin(0.1 * frame + number + 10 * epoch))
        still = np.zeros_like(pose)
        writer.add(pose, still, still, pose, {}, frame / 50, False, environment_state=around)
    if broken_off:
        writer.abort("stopped")
    else:
        writer.finish(verdict, success=verdict == "good")


@functools.cache
def _arms() -> tuple[Any, Any, Any]:
    """The simulated arms: what they are, where they begin, and what lies around them."""
    from hitl_ops.worlds.robot_worlds import make_robot_world

    world = make_robot_world("bimanual", {"cameras": []})
    try:
        return world.spec, world.home.copy(), world.reset(0).environment_state
    finally:
        world.close()
