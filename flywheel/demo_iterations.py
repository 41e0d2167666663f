"""``flywheel demo --iterations N``: what people's time bought, iteration by iteration, as a table, a plot and JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from hitl_ops.evaluation.intervals import Interval, PairedDifference

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from hitl_assets.presets import PlannerPreset
    from hitl_ops.contracts.store import Store

PLOT_FILE = "iterations.png"
_STUDENT = "student"


class IterationOutcome(BaseModel):
    """What one iteration came to."""

    model_config = ConfigDict(extra="forbid")

    iteration: int
    policy_id: str
    success: Interval = Field(description="of its policy, on the validation homes")
    gain: PairedDifference | None = Field(description="over iteration 0, on the same episodes; null for itself")
    promoted: bool = Field(description="whether the gate let it serve")
    verdict: str = Field(description="the gate's reason")
    plays: int = Field(description="finished plays of people")
    plays_successful: int
    play_minutes: float = Field(description="minutes of people's sessions; scripted people play in real time")
    corrections: int = Field(description="corrections that stand")
    label_minutes: float = Field(description="minutes of the annotators; of a scripted expert modelled, not measured")
    samples: dict[str, int] = Field(description="samples of its training mix, by source")

    @property
    def human_minutes(self) -> float:
        """People's minutes of this iteration."""
        return self.play_minutes + self.label_minutes


class LoopOutcome(BaseModel):
    """What a number of iterations came to."""

    model_config = ConfigDict(extra="forbid")

    iterations: list[IterationOutcome]

    @property
    def human_minutes(self) -> float:
        """People's minutes of all iterations."""
        return sum(outcome.human_minutes for outcome in self.iterations)

    @property
    def points(self) -> float:
        """Success points (of 100) the last iteration's policy has over iteration 0's."""
        gain = self.iterations[-1].gain
        return 100 * gain.difference if gain is not None else 0.0

    @property
    def points_per_human_minute(self) -> float | None:
        """Success points gained for a minute of people's time; null where nobody spent any."""
        return self.points / self.human_minutes if self.human_minutes else None

    def as_json(self) -> dict[str, object]:
        """Everything, with the figures derived from it."""
        return {
            "iterations": [
                {**outcome.model_dump(mode="json"), "human_minutes": round(outcome.human_minutes, 2)}
                for outcome in self.iterations
            ],
            "human_minutes": round(self.human_minutes, 2),
            "success_points": round(self.points, 2),
            "success_points_per_human_minute": self.points_per_human_minute,
        }


def iterate_and_tell(
    store: Store,
    preset: str,
    overrides: Sequence[str],
    chosen: PlannerPreset,
    iterations: int,
    console: Console,
    errors: Console,
    started: float,
) -> int:
    """Run iterations 1 to ``iterations`` with scripted people and tell what their time bought; an exit code.

    Raises:
        UserError: a stage failed by something that can be mended, or sensors are at work on the store.
    """
    from flywheel.dagster_home import opened_instance
    from flywheel.demo_stages import shown_stages
    from flywheel.iteration_run import ITERATION_STAGES, Loop, ScriptedPeople, refuse_beside_sensors, run_iteration
    from hitl_assets.planner_opening import DECISION
    from hitl_ops.contracts.publish import publish_json

    with opened_instance(store) as instance:
        refuse_beside_sensors(instance)
        loop = Loop(store, instance, preset, overrides, chosen, errors)
        people = ScriptedPeople(chosen.scripted.crowd, chosen.scripted.expert)
        for number in range(1, iterations + 1):
            key = iteration_key(number)
            if key in instance.get_materialized_partitions(DECISION):
                errors.print(f"[bold]iteration {key}[/] is through already")
                continue
            errors.print(f"[bold]iteration {key}[/]")
            with shown_stages(ITERATION_STAGES, errors) as stages:
                if code := run_iteration(loop, number, stages, people):
                    return code
    outcome = outcome_of(store, iterations)
    seconds = time.monotonic() - started
    folder = store.root / "planner"
    draw_loop(outcome, folder / PLOT_FILE)
    figures = {**outcome.as_json(), "preset": preset, "overrides": list(overrides), "seconds": round(seconds, 1)}
    publish_json(store.demo_figures("planner"), figures)
    print_loop(console, outcome, store, seconds)
    return 0


def outcome_of(store: Store, iterations: int) -> LoopOutcome:
    """Read what iterations 0 to ``iterations`` left behind.

    Raises:
        UserError: one of them is not through, or its files are damaged.
    """
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.evaluation.gate import read_gate
    from hitl_ops.evaluation.intervals import bootstrap_interval, paired_difference
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.models.planner_lm import read_card

    with closing(LabelStore.open(store.labels_url)) as labels:
        given = {figures.iteration: figures for figures in labels.overview().iterations if figures.program == "planner"}
    outcomes: list[IterationOutcome] = []
    first: dict[str, float] = {}
    for number in range(iterations + 1):
        paths = store.iteration("planner", number)
        summary, scores = read_evaluation(paths.evaluation)
        split = summary.config.primary_split
        played = sorted((s for s in scores[_STUDENT].values() if s.split == split), key=lambda s: s.episode_id)
        success = {score.episode_id: float(score.success) for score in played}
        resampling = summary.config.resampling(played)
        if number == 0:
            first = success
        card, verdict, people = read_card(paths.policy), read_gate(paths.evaluation), given.get(number)
        if verdict is None:
            raise UserError(f"the gate has not decided on iteration {paths.key}", "bring it to its end first")
        outcomes.append(
            IterationOutcome(
                iteration=number,
                policy_id=card.policy_id,
                success=bootstrap_interval(list(success.values()), **resampling),
                gain=paired_difference(list(success.values()), [first[name] for name in success], **resampling)
                if number
                else None,
                promoted=verdict.promote,
                verdict=verdict.reason,
                plays=people.plays_finished if people else 0,
                plays_successful=people.plays_successful if people else 0,
                play_minutes=people.human_seconds / 60 if people else 0.0,
                corrections=people.labels_by_kind.get("correction", 0) if people else 0,
                label_minutes=people.label_seconds / 60 if people else 0.0,
                samples=card.sample_counts,
            )
        )
    return LoopOutcome(iterations=outcomes)


def print_loop(console: Console, outcome: LoopOutcome, store: Store, seconds: float) -> None:
    """Print a row an iteration, and what a minute of people's time bought."""
    from rich import box
    from rich.table import Table

    table = Table(title="Success on the validation homes", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("iteration", "success (95 %)", "over iteration 0", "plays", "corrections", "human minutes", "gate"):
        table.add_column(name, justify="left" if name == "gate" else "right")
    for row in outcome.iterations:
        table.add_row(
            iteration_key(row.iteration),
            f"{row.success.mean:.0%} ({100 * row.success.low:.0f}–{100 * row.success.high:.0f})",
            _gain(row.gain),
            str(row.plays),
            str(row.corrections),
            f"{row.human_minutes:.0f}",
            "[green]serves[/]" if row.promoted else f"[yellow]{row.verdict}[/]",
        )
    console.print(table)
    rate = outcome.points_per_human_minute
    if rate is not None:
        console.print(
            f"{outcome.points:+.0f} success points for {outcome.human_minutes:.0f} minutes of people's time, "
            f"{rate:.3f} points a minute. Scripted people play in real time; a scripted expert's minutes are modelled."
        )
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  curve    {store.root / 'planner' / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures('planner')}", soft_wrap=True)
    console.print("  runs, plots and lineage: `make up`, then the pages it names", soft_wrap=True)


def _gain(gain: PairedDifference | None) -> str:
    if gain is None:
        return ""
    return f"{100 * gain.difference:+.0f} ({100 * gain.low:+.0f}–{100 * gain.high:+.0f}), p = {gain.p_value:.3f}"


def draw_loop(outcome: LoopOutcome, path: Path) -> None:
    """Draw success over people's minutes, a point an iteration, with its interval.

    Raises:
        UserError: the disk is full.
    """
    from matplotlib.figure import Figure

    from hitl_ops.contracts.publish import publishing

    minutes, spent = [], 0.0
    for row in outcome.iterations:
        spent += row.human_minutes
        minutes.append(spent)
    means = [100 * row.success.mean for row in outcome.iterations]
    below = [100 * (row.success.mean - row.success.low) for row in outcome.iterations]
    above = [100 * (row.success.high - row.success.mean) for row in outcome.iterations]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(minutes, means, yerr=[below, above], marker="o", capsize=4, color="#2f6f9f")
    for row, x, y in zip(outcome.iterations, minutes, means, strict=True):
        note = iteration_key(row.iteration) + ("" if row.promoted else " (refused)")
        axes.annotate(note, (x, y), xytext=(6, -14), textcoords="offset points", fontsize=9)
    axes.set(xlabel="people's minutes so far", ylabel="success on validation homes, %", ylim=(0, 103))
    axes.set_title("What people's time bought")
    axes.grid(alpha=0.3)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
