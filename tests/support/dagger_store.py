"""A store in which the dagger program's loop turns at the smallest scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from hitl_assets.dagger_iterations import DaggerPaths, open_dagger_iteration
from hitl_assets.dagger_presets import DaggerPreset, chosen_dagger_preset
from hitl_assets.definitions import build_defs
from hitl_ops.contracts.config import load_config
from hitl_ops.contracts.progress import Progress
from hitl_ops.contracts.store import IterationPaths, Store, iteration_key
from resources.launcher import LauncherResource
from resources.store import StoreResource
from resources.tracker import TrackerResource


class PlaysHere(LauncherResource):
    """Plays and learns in this process: a verb of its own would import everything anew each time."""

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
        """Run ``train`` or ``evaluate --program dagger``; see :meth:`LauncherResource.launch`."""
        from hitl_ops.rollouts.text_game_sets import read_text_games

        log.touch()
        told, free = _options(arguments[1:])
        assert told["program"] == ["dagger"]
        out = Path(told["out"][0])
        if arguments[0] == "evaluate":
            from flywheel.evaluate_dagger import evaluate_by
            from flywheel.train_dagger import named_folders
            from hitl_ops.evaluation.text_evaluation import TextExaminationConfig

            games = [game for file in told["episodes"] for game in read_text_games(Path(file))]
            examination = load_config(TextExaminationConfig, told["config"][0])
            evaluate_by(named_folders(free), games, examination, out, progress)
            return {"agents": len(free), "games": len(games)}
        from flywheel.train_dagger import named_folders, train_by
        from hitl_ops.training.agent_phase_config import AgentPhaseConfig

        config = load_config(AgentPhaseConfig, told["config"][0])
        assert told["phase"] == [config.rounds.training.phase]
        games, skip = read_text_games(Path(told["games"][0])), int(told["skip-games"][0])
        summary = train_by(
            config,
            [*games[skip:], *games[:skip]],
            out,
            progress,
            base=Path(told["base"][0]) if "base" in told else None,
            replay=named_folders(told.get("replay", [])),
            pairs=[Path(file) for file in told.get("pairs", [])],
            validation=[game for file in told.get("val-games", []) for game in read_text_games(Path(file))],
        )
        return summary.model_dump(mode="json")


def _options(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options with a value each, and the words between them."""
    told: dict[str, list[str]] = {}
    free, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--no-track":
            continue
        if word.startswith("--"):
            told.setdefault(word[2:], []).append(rest.pop(0))
        else:
            free.append(word)
    return told, free


@dataclass
class DaggerLoop:
    """The store, and Dagster's instance that works on it.

    Attributes:
        store: holds everything.
        instance: Dagster's.
    """

    store: Store
    instance: dg.DagsterInstance

    def preset(self, *overrides: str) -> DaggerPreset:
        """What runs work at."""
        return chosen_dagger_preset("tiny_ci", overrides)

    def iteration(self, iteration: int) -> IterationPaths:
        """An iteration's folders."""
        return self.store.iteration("dagger", iteration)

    def paths(self, iteration: int) -> DaggerPaths:
        """The program's own folders of an iteration."""
        return DaggerPaths(self.iteration(iteration))

    def run(self, iteration: int, *overrides: str, only: Iterable[str] | None = None) -> dg.ExecuteInProcessResult:
        """Run the graph for an iteration.

        Args:
            iteration: which.
            overrides: laid over the preset tiny_ci.
            only: assets to make; all by default.
        """
        definitions = build_defs(
            resource_overrides={
                "store": StoreResource(home=str(self.store.root)),
                "launcher": PlaysHere(),
                "tracker": TrackerResource(enabled=False),
            }
        )
        config = {"name": "tiny_ci", "overrides": list(overrides)}
        return definitions.resolve_job_def("dagger_iteration").execute_in_process(
            instance=self.instance,
            partition_key=iteration_key(iteration),
            asset_selection=None if only is None else [dg.AssetKey(name) for name in only],
            run_config={"resources": {"dagger_preset": {"config": config}}},
            raise_on_error=False,
        )

    def open(self, iteration: int) -> str:
        """Open an iteration on what serves."""
        return open_dagger_iteration(self.instance, self.store, iteration)
