"""``flywheel demo --program station``: what judging a robot's episodes brought, as a table, a plot and JSON."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from hitl_ops.evaluation.intervals import Interval, PairedDifference

if TYPE_CHECKING:
    from rich.console import Console

    from flywheel.station_run import StationTurns
    from hitl_ops.contracts.store import Store
    from hitl_ops.evaluation.metrics import EpisodeScore

PLOT_FILE = "epochs.png"
PROGRAM = "station"


class EpochOutcome(BaseModel):
    """What one iteration came to."""

    model_config = ConfigDict(extra="forbid")

    iteration: int
    policy_id: str
    success: Interval = Field(description="of its policy, in the evaluation's scenes")
    wilson: tuple[float, float] = Field(description="Wilson's interval of the same; it keeps its width at 0 and 1")
    gain: PairedDifference | None = Field(description="over iteration 0, in the same scenes; null for itself")
    promoted: bool = Field(description="whether the gate let it serve")
    verdict: str = Field(description="the gate's reason")
    good: int = Field(description="episodes of its epoch that were judged good")
    bad: int
    aborted: int
    collected_success: float | None = Field(description="share of its epoch's episodes that succeeded, where known")
    human_minutes: float = Field(description="minutes somebody was at the stations; simulated ones work in lockstep")
    dataset_episodes: int = Field(description="of its data set: demonstrations and all epochs so far")
    dataset_frames: int


class ControlOutcome(BaseModel):
    """What the same data gave without the advantage."""

    model_config = ConfigDict(extra="forbid")

    iteration: int = Field(description="whose data")
    success: Interval
    wilson: tuple[float, float]
    advantage_over_control: PairedDifference = Field(description="that iteration's policy minus the control")
    gain: PairedDifference = Field(description="the control over iteration 0")


class StationOutcome(BaseModel):
    """What a number of epochs came to."""

    model_config = ConfigDict(extra="forbid")

    world: str
    task: str
    epochs: list[EpochOutcome]
    control: ControlOutcome | None

    @property
    def points(self) -> float:
        """Success points (of 100) the last iteration's policy has over the base policy."""
        gain = self.epochs[-1].gain
        return 100 * gain.difference if gain is not None else 0.0


def demo_station(
    store: Store,
    preset: str,
    world: str,
    overrides: Sequence[str],
    iterations: int,
    console: Console,
    errors: Console,
) -> int:
    """Run iterations 0 to ``iterations`` with simulated stations, and the control; tell what came out.

    Args:
        store: holds everything.
        preset: name of the scale.
        world: the world; "" for the preset's own.
        overrides: ``section.key=value`` laid over it.
        iterations: the last one.
        console: where the table goes.
        errors: where stages and defects are told.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended, or sensors are at work on the store.
    """
    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.station_run import StationTurns
    from hitl_assets.station_presets import chosen_station_preset
    from hitl_ops.contracts.publish import publish_json

    started = time.monotonic()
    chosen = chosen_station_preset(preset, overrides, world)
    with opened_instance(store) as instance:
        if iterations:
            from flywheel.iteration_run import refuse_beside_sensors

            refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        turns = StationTurns(store, instance, preset, world, overrides, chosen, errors)
        if code := _all_of_it(turns, iterations):
            return code
    outcome = outcome_of(store, chosen.world, chosen.collection.description, iterations)
    seconds = time.monotonic() - started
    draw_epochs(outcome, store.root / PROGRAM / PLOT_FILE)
    figures: dict[str, Any] = outcome.model_dump(mode="json")
    figures |= {
        "success_points": round(outcome.points, 2),
        "preset": preset,
        "overrides": list(overrides),
        "seconds": round(seconds, 1),
    }
    publish_json(store.demo_figures(PROGRAM), figures)
    print_outcome(console, outcome, store, seconds)
    return 0


def _all_of_it(turns: StationTurns, iterations: int) -> int:
    from flywheel.demo_stages import shown_stages
    from flywheel.simulated_stations import station_servers
    from flywheel.station_run import BASE_STAGES, CONTROL_STAGES, EPOCH_STAGES, run_base, run_epoch
    from hitl_assets.station_iterations import STATION_LOOP
    from hitl_ops.evaluation.gate import read_gate

    def through(iteration: int) -> bool:
        key = iteration_key(iteration)
        decided = key in STATION_LOOP.decided(turns.instance)
        # What was forgotten with --fresh is made again, whatever Dagster remembers.
        decided = decided and read_gate(turns.store.iteration(PROGRAM, key).evaluation) is not None
        turns.errors.print(f"[bold]iteration {key}[/]{' is through already' if decided else ''}")
        return decided

    if not through(0):
        with shown_stages(BASE_STAGES, turns.errors) as stages:
            if code := run_base(turns, stages):
                return code
    if not iterations:
        return 0
    with contextlib.ExitStack() as stack:
        servers = None
        for iteration in range(1, iterations + 1):
            if through(iteration):
                continue
            servers = servers or stack.enter_context(station_servers(turns.store))
            with shown_stages(EPOCH_STAGES, turns.errors) as stages:
                if code := run_epoch(turns, iteration, stages, servers):
                    return code
    turns.errors.print("[bold]control[/]: the same episodes, nobody's word listened to")
    with shown_stages(CONTROL_STAGES, turns.errors) as stages:
        return turns.job("station_control", iteration_key(iterations), stages)


def outcome_of(store: Store, world: str, task: str, iterations: int) -> StationOutcome:
    """Read what iterations 0 to ``iterations`` left behind.

    Raises:
        UserError: one of them is not through, or its files are damaged.
    """
    from hitl_assets.station_control import CONTROL, control_paths
    from hitl_assets.station_examination import STUDENT
    from hitl_ops.evaluation.evaluate import read_evaluation

    epochs: list[EpochOutcome] = []
    first: dict[str, EpisodeScore] = {}
    for number in range(iterations + 1):
        _, scores = read_evaluation(store.iteration(PROGRAM, number).evaluation)
        first = first or scores[STUDENT]
        epochs.append(_epoch_outcome(store, number, scores[STUDENT], first if number else None))
    control = None
    if iterations:
        own = control_paths(store.iteration(PROGRAM, iterations))
        _, scores = read_evaluation(own.evaluation)
        control = ControlOutcome(
            iteration=iterations,
            success=_interval(scores[CONTROL]),
            wilson=_wilson(scores[CONTROL]),
            advantage_over_control=_difference(scores[STUDENT], scores[CONTROL]),
            gain=_difference(scores[CONTROL], first),
        )
    return StationOutcome(world=world, task=task, epochs=epochs, control=control)


def _epoch_outcome(
    store: Store, number: int, scores: Mapping[str, EpisodeScore], first: Mapping[str, EpisodeScore] | None
) -> EpochOutcome:
    from hitl_assets.station_training import dataset_summary
    from hitl_ops.evaluation.gate import read_gate
    from hitl_ops.samples.station_epochs import read_recordings

    paths = store.iteration(PROGRAM, number)
    verdict, held = read_gate(paths.evaluation), dataset_summary(paths)
    if verdict is None:
        raise UserError(f"the gate has not decided on iteration {paths.key}", "bring it to its end first")
    found = read_recordings(paths.sessions) if number else None
    truths = [one.success for one in found.complete if one.success is not None] if found else []
    return EpochOutcome(
        iteration=number,
        policy_id=verdict.candidate,
        success=_interval(scores),
        wilson=_wilson(scores),
        gain=None if first is None else _difference(scores, first),
        promoted=verdict.promote,
        verdict=verdict.reason,
        good=len(found.judged("good")) if found else 0,
        bad=len(found.judged("bad")) if found else 0,
        aborted=len(found.of_status("aborted")) if found else 0,
        collected_success=sum(truths) / len(truths) if truths else None,
        human_minutes=round(found.human_seconds / 60, 2) if found else 0.0,
        dataset_episodes=held.episodes,
        dataset_frames=held.frames,
    )


def _interval(scores: Mapping[str, EpisodeScore]) -> Interval:
    from hitl_ops.evaluation.intervals import bootstrap_interval

    return bootstrap_interval([float(scores[name].success) for name in sorted(scores)])


def _wilson(scores: Mapping[str, EpisodeScore]) -> tuple[float, float]:
    from hitl_ops.evaluation.intervals import wilson_interval

    return wilson_interval(sum(one.success for one in scores.values()), len(scores))


def _difference(policy: Mapping[str, EpisodeScore], reference: Mapping[str, EpisodeScore]) -> PairedDifference:
    from hitl_ops.evaluation.intervals import paired_difference

    names = sorted(policy)
    if names != sorted(reference):
        raise UserError(
            "two policies were evaluated in different scenes", "run the demo with --fresh, or in another --root"
        )
    return paired_difference(
        [float(policy[name].success) for name in names], [float(reference[name].success) for name in names]
    )


def print_outcome(console: Console, outcome: StationOutcome, store: Store, seconds: float) -> None:
    """Print a row an epoch, the control beside them, and where to look."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{outcome.task} ({outcome.world}): success in {outcome.epochs[0].success.n} scenes nobody trained in",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("iteration", "success (95 %)", "over the base", "good", "bad", "episodes in all", "gate"):
        table.add_column(name, justify="left" if name in ("iteration", "gate") else "right")
    for row in outcome.epochs:
        table.add_row(
            f"{iteration_key(row.iteration)}{' base' if not row.iteration else ''}",
            _percent(row.success, row.wilson),
            _points(row.gain),
            str(row.good) if row.iteration else "",
            str(row.bad) if row.iteration else "",
            str(row.dataset_episodes),
            "[green]serves[/]" if row.promoted else f"[yellow]{row.verdict}[/]",
        )
    control = outcome.control
    if control is not None:
        table.add_section()
        table.add_row(
            f"control, data of {iteration_key(control.iteration)}",
            _percent(control.success, control.wilson),
            _points(control.gain),
            "",
            "",
            str(outcome.epochs[-1].dataset_episodes),
            "never serves: nobody's word is listened to",
        )
    console.print(table)
    if control is not None:
        console.print(
            f"{outcome.points:+.0f} points over the base policy; over the control, which had the same episodes, "
            f"{_points(control.advantage_over_control)}."
        )
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  curve    {store.root / PROGRAM / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures(PROGRAM)}", soft_wrap=True)
    console.print("  serve it `flywheel serve`; runs and plots: `make up`, then the pages it names", soft_wrap=True)


def _percent(value: Interval, wilson: tuple[float, float]) -> str:
    low, high = (value.low, value.high) if value.low < value.high else wilson
    return f"{value.mean:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def _points(gain: PairedDifference | None) -> str:
    if gain is None:
        return ""
    return f"{100 * gain.difference:+.0f} ({100 * gain.low:+.0f} to {100 * gain.high:+.0f})"


def draw_epochs(outcome: StationOutcome, path: Path) -> None:
    """Draw success by epoch with its interval, the control beside the last one.

    Raises:
        UserError: the disk is full.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from hitl_ops.contracts.publish import publishing

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [row.iteration for row in outcome.epochs]
    _bars(axes, numbers, [row.success for row in outcome.epochs], "#2f6f9f", "o-", "told good and bad")
    if outcome.control is not None:
        _bars(axes, [outcome.control.iteration], [outcome.control.success], "#b5482e", "s", "control: told nothing")
    for row in outcome.epochs:
        if not row.promoted:
            axes.annotate(
                "refused", (row.iteration, 100 * row.success.mean), xytext=(6, -14), textcoords="offset points"
            )
    axes.set(xlabel="epoch", ylabel="success, %", ylim=(-3, 103))
    axes.set_title(f"{outcome.task} ({outcome.world})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", frameon=False)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _bars(axes: Any, numbers: list[int], values: list[Interval], colour: str, mark: str, label: str) -> None:
    means = [100 * value.mean for value in values]
    below = [100 * (value.mean - value.low) for value in values]
    above = [100 * (value.high - value.mean) for value in values]
    axes.errorbar(numbers, means, yerr=[below, above], fmt=mark, capsize=4, color=colour, label=label)
