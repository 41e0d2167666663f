"""A store in which the preference program's loop turns at the smallest scale, its people scripted."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from flywheel.compare_scripted import compare_by_script
from hitl_assets.definitions import build_defs
from hitl_assets.preference_opening import open_preference_iteration
from hitl_assets.preference_presets import PreferencePreset, chosen_preference_preset
from hitl_assets.preference_versions import report_preference_versions
from hitl_ops.contracts.config import load_config
from hitl_ops.contracts.preference import Choice, ClipPair, PreferenceValue
from hitl_ops.contracts.progress import Progress, silent
from hitl_ops.contracts.store import Store, iteration_key
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.labels.preferences import say_preference
from hitl_ops.records.clips import ClipSet, open_clip_set
from resources.launcher import LauncherResource
from resources.store import StoreResource
from resources.tracker import TrackerResource


class LearnsHere(LauncherResource):
    """Learns in this process: a verb of its own would import everything anew each time."""

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
        """Run ``train-reward``, or ``train --program preference``; see :meth:`LauncherResource.launch`."""
        log.touch()
        told = dict(itertools.pairwise(arguments))
        out = Path(told["--out"])
        if arguments[0] == "train-reward":
            from hitl_ops.training.reward_config import RewardTrainConfig
            from hitl_ops.training.reward_training import learn_reward

            config = load_config(RewardTrainConfig, told["--config"])
            return learn_reward(Path(told["--samples"]), config, out, progress).model_dump(mode="json")
        from flywheel.train_reach import train_by
        from hitl_ops.training.reach_config import ReachTrainConfig

        assert told["--program"] == "preference"
        base = Path(told["--base"]) if "--base" in told else None
        lessons = load_config(ReachTrainConfig, told["--config"])
        return train_by(lessons, told["--reward"], base, out, progress).model_dump(mode="json")


@dataclass
class PreferenceLoop:
    """The store, and Dagster's instance that works on it.

    Attributes:
        store: holds everything.
        instance: Dagster's.
    """

    store: Store
    instance: dg.DagsterInstance

    def preset(self, *overrides: str) -> PreferencePreset:
        """What runs work at."""
        return chosen_preference_preset("tiny_ci", overrides)

    def run(
        self, job: str, iteration: int, *overrides: str, only: Iterable[str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the graph for an iteration, told before what people said.

        Args:
            job: its name.
            iteration: which.
            overrides: laid over the preset tiny_ci.
            only: assets of the job to make; all by default.
        """
        report_preference_versions(self.instance, self.store)
        definitions = build_defs(
            resource_overrides={
                "store": StoreResource(home=str(self.store.root)),
                "launcher": LearnsHere(),
                "tracker": TrackerResource(enabled=False),
            }
        )
        config = {"name": "tiny_ci", "overrides": list(overrides)}
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=iteration_key(iteration),
            asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
            run_config={"resources": {"preference_preset": {"config": config}}},
            raise_on_error=False,
        )

    def open(self, iteration: int) -> str:
        """Open an iteration on what serves."""
        return open_preference_iteration(self.instance, self.store, iteration)

    def clips(self, iteration: int) -> ClipSet:
        """An iteration's clips and pairs."""
        return open_clip_set(self.store.iteration("preference", iteration).clips)

    def compare(self, iteration: int, *overrides: str) -> int:
        """Let the scripted people of the preset compare; returns how many answers they gave."""
        return compare_by_script(self.store, iteration, self.preset(*overrides).annotator, silent).answers

    def say(self, iteration: int, choice: Choice | None, pairs: Iterable[ClipPair], annotator: str = "eva") -> None:
        """Let somebody say the same of some pairs; a second time takes the place of the first."""
        with closing(LabelStore.open(self.store.labels_url)) as labels:
            for pair in pairs:
                said = said_of(self.clips(iteration), pair, choice)
                say_preference(
                    labels,
                    said,
                    program="preference",
                    iteration=iteration,
                    annotator=annotator,
                    client_key=f"{pair.pair_id}/{choice}",
                    seconds=2.0,
                )

    def stale(self) -> set[tuple[str, str]]:
        """Everything of the program that Dagster marks as stale: asset and partition."""
        from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
        from dagster._core.loader import LoadingContextForTest

        graph = build_defs().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        return {
            (node.key.to_user_string(), key)
            for node in graph.asset_nodes
            if node.group_name == "preference"
            for key in self.instance.get_dynamic_partitions("preference_iterations")
            if resolver.get_status(node.key, key) is StaleStatus.STALE
        }


def said_of(clip_set: ClipSet, pair: ClipPair, choice: Choice | None, *, repeat: bool = False) -> PreferenceValue:
    """What somebody says of a pair, shown as the set has it."""
    left, right = clip_set.clips[pair.left], clip_set.clips[pair.right]
    return PreferenceValue(
        pair_id=pair.pair_id,
        left=pair.left,
        right=pair.right,
        left_hash=left.content_hash,
        right_hash=right.content_hash,
        choice=choice,
        repeat=repeat,
    )
