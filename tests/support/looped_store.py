"""A store in which the planner's loop has turned once, at the smallest scale, with people and an annotator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets.definitions import build_defs
from hitl_assets.planner_iterations import open_first_iteration
from hitl_assets.planner_opening import open_on_serving
from hitl_assets.planner_versions import report_versions
from hitl_ops.contracts.config import load_config
from hitl_ops.contracts.episode import read_episodes
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.store import Store, iteration_key
from hitl_ops.labels.rows import EpisodePlay
from hitl_ops.rollouts.episode_sets import episode_file
from hitl_ops.training.train_config import TrainConfig
from resources.launcher import LauncherResource
from resources.store import StoreResource
from resources.tracker import TrackerResource
from tests.support.annotations import made_in, mark, review
from tests.support.collected_plays import Collected
from tests.support.registries import with_registry


class TrainsHere(LauncherResource):
    """Trains in this process: a verb of its own would import everything anew each time."""

    def launch(
        self,
        context: dg.AssetExecutionContext,
        arguments: Sequence[str],
        *,
        log: Path,
        progress: Progress,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run ``train``; see :meth:`LauncherResource.launch`."""
        from hitl_ops.training.sft import train

        told = dict(zip(arguments[1::2], arguments[2::2], strict=False))
        log.touch()
        config = load_config(TrainConfig, told["--config"])
        summary = train(
            config, Path(told["--samples"]), Path(told["--out"]), progress, cache=Store.from_environment().cache
        )
        return summary.model_dump(mode="json")


OVERRIDES = (
    "training.export_texts=false",
    "evaluation.videos=false",
    "evaluation.decision_limit=4",
    "evaluation.splits=[val]",
    "checks.least_human_samples=1",
)


@dataclass
class Looped:
    """The store, and Dagster's instance that has worked on it.

    Attributes:
        store: holds everything.
        instance: Dagster's.
    """

    store: Store
    instance: dg.DagsterInstance

    def run(
        self, job: str, iteration: int, *overrides: str, only: Iterable[str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the graph for an iteration, told before what people gave.

        Args:
            job: its name.
            iteration: which.
            overrides: laid over the preset tiny_ci.
            only: assets of the job to make; all by default.
        """
        report_versions(self.instance, self.store)
        definitions = build_defs(
            resource_overrides={
                "store": StoreResource(home=str(self.store.root)),
                "launcher": TrainsHere(),
                "tracker": TrackerResource(enabled=False),
            }
        )
        config = {"name": "tiny_ci", "overrides": [*OVERRIDES, *overrides]}
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=iteration_key(iteration),
            asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
            run_config={"resources": {"preset": {"config": config}}},
            raise_on_error=False,
        )

    def play(self, iteration: int, count: int = 2) -> tuple[Collected, list[EpisodePlay]]:
        """Open an iteration and let people play so many of its tasks to success."""
        open_on_serving(self.instance, self.store, iteration)
        collected = Collected(self.store, iteration=iteration)
        episodes = read_episodes(episode_file(self.store.episodes, "train"))
        return collected, [collected.play(episode) for episode in episodes[:count]]

    def stale(self) -> set[tuple[str, str]]:
        """Everything that Dagster marks as stale: asset and partition, "" where there is none."""
        from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
        from dagster._core.loader import LoadingContextForTest

        graph = build_defs().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        partitions = self.instance.get_dynamic_partitions("planner_iterations")
        found = set()
        for node in graph.asset_nodes:
            for key in partitions if node.is_partitioned else [None]:
                if resolver.get_status(node.key, key) is StaleStatus.STALE:
                    found.add((node.key.to_user_string(), key or ""))
        return found


def annotate(collected: Collected, plays: Iterable[EpisodePlay], annotator: str = "eva") -> None:
    """An annotator corrects the first decision of each play and goes through all of it."""
    for play in plays:
        mark(collected, play, made_in(collected, play)[0], annotator=annotator)
        review(collected, play, annotator)


def looped(root: Any, instance: dg.DagsterInstance) -> tuple[Looped, Collected, list[EpisodePlay]]:
    """Iteration 0 from the teacher alone, iteration 1 from two plays and corrections of them.

    Raises:
        AssertionError: a run failed.
    """
    loop = Looped(with_registry(Store.at(root)), instance)
    open_first_iteration(instance)
    succeeded(loop.run("planner_iteration_0", 0))
    collected, plays = loop.play(1)
    succeeded(loop.run("planner_collection", 1))
    annotate(collected, plays)
    succeeded(loop.run("planner_refinement", 1))
    return loop, collected, plays


def succeeded(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    """The result itself, if the run came to its end.

    Raises:
        AssertionError: it did not; with what failed.
    """
    failed = [event.step_failure_data for event in result.get_step_failure_events()]
    checks = [
        (found.check_name, found.description) for found in result.get_asset_check_evaluations() if not found.passed
    ]
    assert result.success, (failed, checks)
    return result


def made(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What an asset of a run says about itself."""
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}
