"""What judging a robot's episodes brought: read from the store, as a table, a plot and plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from hitl_ops.evaluation.intervals import Interval, PairedDifference

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_assets.station_control import Control
    from hitl_assets.station_presets import StationPreset
    from hitl_ops.contracts.store import IterationPaths, Store
    from hitl_ops.evaluation.metrics import EpisodeScore

PLOT_FILE = "epochs.png"
PROGRAM = "station"
_CONTROL_MARKS = (("#b5482e", "s"), ("#7a7a2e", "D"))


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
    """What a policy came to that had less than the last iteration's."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="what it did without")
    iteration: int = Field(description="with whose policy it is compared")
    success: Interval
    wilson: tuple[float, float]
    gain: PairedDifference = Field(description="the control over iteration 0")
    student_minus_control: PairedDifference = Field(description="that iteration's policy over the control")
    steps: int = Field(description="of its training: as many as all that led to the policy had together")
    differs: str = Field(description="what else differs between the two")
    dataset_episodes: int


class StationOutcome(BaseModel):
    """What a number of epochs came to."""

    model_config = ConfigDict(extra="forbid")

    world: str
    task: str
    epochs: list[EpochOutcome]
    controls: list[ControlOutcome]
    unseen: bool = Field(description="whether the scenes are known to be nobody's: not so with recordings of your own")

    @property
    def points(self) -> float:
        """Success points (of 100) the last iteration's policy has over the base policy."""
        gain = self.epochs[-1].gain
        return 100 * gain.difference if gain is not None else 0.0


def outcome_of(store: Store, chosen: StationPreset, iterations: int) -> StationOutcome:
    """Read what iterations 0 to ``iterations`` left behind.

    Args:
        store: holds them.
        chosen: what they were made with.
        iterations: the last one.

    Raises:
        UserError: one of them is not through, or its files are damaged.
    """
    from hitl_assets.station_control import CONTROLS, control_paths
    from hitl_assets.station_examination import STUDENT
    from hitl_ops.evaluation.evaluate import read_evaluation

    epochs: list[EpochOutcome] = []
    first: dict[str, EpisodeScore] = {}
    for number in range(iterations + 1):
        _, scores = read_evaluation(store.iteration(PROGRAM, number).evaluation)
        first = first or scores[STUDENT]
        epochs.append(_epoch_outcome(store, number, scores[STUDENT], first if number else None))
    controls = []
    if iterations:
        last = store.iteration(PROGRAM, iterations)
        controls = [_control_outcome(control, control_paths(last, control), first) for control in CONTROLS]
    return StationOutcome(
        world=chosen.world,
        task=chosen.collection.description,
        epochs=epochs,
        controls=controls,
        unseen=not chosen.demonstrations.recordings,
    )


def _control_outcome(control: Control, own: IterationPaths, first: Mapping[str, EpisodeScore]) -> ControlOutcome:
    from hitl_assets.station_control import CONTROL, DIFFERENCE
    from hitl_assets.station_examination import STUDENT
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.models.planner_lm import read_card
    from hitl_ops.samples.provenance import read_provenance

    _, scores = read_evaluation(own.evaluation)
    return ControlOutcome(
        name=control.name,
        iteration=own.iteration,
        success=_interval(scores[CONTROL]),
        wilson=_wilson(scores[CONTROL]),
        gain=_difference(scores[CONTROL], first),
        student_minus_control=_difference(scores[STUDENT], scores[CONTROL]),
        steps=read_card(own.policy).config["steps"],
        differs=DIFFERENCE,
        dataset_episodes=read_provenance(own.policy).num_rows,
    )


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
        raise UserError("two policies were evaluated in different scenes", "name another --root")
    return paired_difference(
        [float(policy[name].success) for name in names], [float(reference[name].success) for name in names]
    )


def print_outcome(console: Console, outcome: StationOutcome, store: Store, seconds: float) -> None:
    """Print a row an epoch, the controls beside them, and where to look."""
    from rich import box
    from rich.table import Table

    scenes = f"{outcome.epochs[0].success.n} scenes{' nobody trained in' if outcome.unseen else ''}"
    table = Table(
        title=f"{outcome.task} ({outcome.world}): success in {scenes}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("iteration", "success (95 %)", "over the base", "good", "bad", "episodes in all", "gate"):
        table.add_column(
            name,
            justify="left" if name in ("iteration", "gate") else "right",
            min_width=14 if name == "iteration" else None,  # "demonstrations", whole
        )
    for row in outcome.epochs:
        table.add_row(
            f"{iteration_key(row.iteration)}{' base' if not row.iteration else ''}",
            _percent(row.success, row.wilson),
            points_of(row.gain),
            str(row.good) if row.iteration else "",
            str(row.bad) if row.iteration else "",
            str(row.dataset_episodes),
            "[green]serves[/]" if row.promoted else f"[yellow]{row.verdict}[/]",
        )
    if outcome.controls:
        table.add_section()
    for control in outcome.controls:
        table.add_row(
            f"control: {control.name}",
            _percent(control.success, control.wilson),
            points_of(control.gain),
            "",
            "",
            str(control.dataset_episodes),
            "never serves",
        )
    console.print(table)
    if outcome.controls:
        over = "; ".join(f"{points_of(one.student_minus_control)} over {one.name}" for one in outcome.controls)
        console.print(f"{outcome.points:+.0f} points over the base policy; with as many steps, {over}.")
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  curve    {store.root / PROGRAM / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures(PROGRAM)}", soft_wrap=True)
    console.print("  serve it `flywheel serve`; runs and plots: `make up`, then the pages it names", soft_wrap=True)


def _percent(value: Interval, wilson: tuple[float, float]) -> str:
    low, high = (value.low, value.high) if value.low < value.high else wilson
    return f"{value.mean:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def points_of(gain: PairedDifference | None) -> str:
    """A difference of success in points of 100, with its interval; empty where there is none."""
    if gain is None:
        return ""
    return f"{100 * gain.difference:+.0f} ({100 * gain.low:+.0f} to {100 * gain.high:+.0f})"


def draw_epochs(outcome: StationOutcome, path: Path) -> None:
    """Draw success by epoch with its interval, the controls beside the last one.

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
    # Side by side: they stand at the same epoch.
    for place, (control, (colour, mark)) in enumerate(zip(outcome.controls, _CONTROL_MARKS, strict=False), 1):
        _bars(axes, [control.iteration + 0.06 * place], [control.success], colour, mark, f"control: {control.name}")
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


def _bars(axes: Any, numbers: Sequence[float], values: list[Interval], colour: str, mark: str, label: str) -> None:
    means = [100 * value.mean for value in values]
    below = [100 * (value.mean - value.low) for value in values]
    above = [100 * (value.high - value.mean) for value in values]
    axes.errorbar(numbers, means, yerr=[below, above], fmt=mark, capsize=4, color=colour, label=label)
