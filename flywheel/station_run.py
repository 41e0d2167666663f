"""One iteration of the station program by hand: from an epoch that stations collect to the policy that serves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from flywheel.demo_stages import Stages
    from flywheel.simulated_stations import StationServers
    from hitl_assets.station_presets import StationPreset
    from hitl_ops.contracts.store import Store

COLLECTION = "collection"

# What a person calls the stages, in their order; all but the one that waits for stations are assets.
BASE_STAGES: Mapping[str, str] = {
    "station_demonstrations": "a scripted hand demonstrates",
    "station_dataset": "recordings become a data set",
    "station_policy": "the base policy learns",
    "station_evaluation": "it plays in scenes it has not seen",
    "station_promotion": "not worse? then it serves",
}
EPOCH_STAGES: Mapping[str, str] = {
    COLLECTION: "stations collect and judge",
    "station_recordings": "what came in is looked through",
    "station_dataset": "all recordings become a data set",
    "station_policy": "the policy learns",
    "station_evaluation": "it plays in scenes it has not seen",
    "station_promotion": "not worse? then it serves",
}
CONTROL_STAGES: Mapping[str, str] = {
    "station_control_policy": "the control learns, told nothing",
    "station_control_evaluation": "it plays the same scenes",
    "station_control_demonstrations_policy": "another learns, demonstrations only",
    "station_control_demonstrations_evaluation": "it plays them as well",
}
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class StationTurns:
    """What every stage of an iteration works with.

    Attributes:
        store: holds everything.
        instance: Dagster's.
        preset: name of the scale.
        world: the world; "" for the preset's own.
        overrides: ``section.key=value`` laid over it.
        chosen: all of them together.
        errors: where stages and defects are told.
    """

    store: Store
    instance: dg.DagsterInstance
    preset: str
    world: str
    overrides: Sequence[str]
    chosen: StationPreset
    errors: Console

    def job(self, name: str, key: str, stages: Stages) -> int:
        """Run a job of the graph for an iteration; returns an exit code.

        Raises:
            UserError: it failed by something that can be mended, or a check stopped it.
        """
        from flywheel.job_run import run_job, station_scale
        from hitl_assets.station_versions import report_station_versions

        # What the run is made from is told before it starts: said later, it would count as a change.
        keep = self.chosen.collection.refused_epochs == "leave_out"
        report_station_versions(self.instance, self.store, leave_out_refused=keep)
        return run_job(
            name,
            key,
            store=self.store,
            instance=self.instance,
            scale=station_scale(self.preset, self.overrides, self.world),
            stages=stages,
            errors=self.errors,
        )


def next_epoch_of(turns: StationTurns) -> int:
    """The iteration to work at: the newest that is open and not decided yet, or the one after it.

    Raises:
        UserError: iteration 000 is not through yet.
    """
    from hitl_assets.station_iterations import STATION_LOOP

    decided, opened = STATION_LOOP.decided(turns.instance), STATION_LOOP.opened(turns.instance)
    if iteration_key(0) not in decided:
        raise UserError(
            "iteration 000 has no policy that serves yet",
            "run `flywheel demo --program station --iterations 0`, or materialise station_iteration_0 first",
        )
    newest = int(opened[-1])
    return newest + 1 if iteration_key(newest) in decided else newest


def run_base(turns: StationTurns, stages: Stages) -> int:
    """Bring iteration 000 to its end; returns an exit code.

    Raises:
        UserError: a stage failed by something that can be mended.
    """
    return turns.job("station_iteration_0", iteration_key(0), stages)


def run_epoch(turns: StationTurns, iteration: int, stages: Stages, servers: StationServers | None) -> int:
    """Open an iteration and bring it to its end; what is done already is not done again.

    Args:
        turns: what to work with.
        iteration: its number, at least 1.
        stages: told what is at work.
        servers: whom simulated stations turn to; None waits for real ones.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended, or no policy serves yet.
    """
    from hitl_assets.station_opening import open_station_iteration

    key = open_station_iteration(turns.instance, turns.store, iteration, turns.chosen)
    progress = stages.of(COLLECTION)
    if servers is not None:
        from flywheel.simulated_stations import collect_epoch

        collect_epoch(turns.store, turns.chosen, servers, iteration, progress)
    else:
        _wait_for_stations(turns, iteration)
        progress(1, 1, "finished")
    stages.ended()
    return turns.job("station_refinement", key, stages)


def _wait_for_stations(turns: StationTurns, iteration: int) -> None:
    """Wait until every expected station's manifest is there; what is wrong with one is said once."""
    from hitl_ops.contracts.station_epoch import EpochFolder
    from hitl_ops.samples.station_epochs import arrived_epoch

    section = turns.chosen.collection
    folder = EpochFolder(turns.store.station_incoming, section.task, iteration)
    told: set[str] = set()
    while missing := (arrived := arrived_epoch(folder)).waits_for(section.stations):
        for line in (
            f"waiting for {', '.join(missing)} in {folder.path}: `flywheel serve`, `flywheel station`, and "
            "`python -m robot_client` at the station",
            *arrived.damaged,
        ):
            if line not in told:
                turns.errors.print(line, markup=False)
                told.add(line)
        time.sleep(_LOOK_EVERY_S)
