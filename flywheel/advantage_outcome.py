"""What the advantage program's demo came to: how well progress was estimated, and what being told of it brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from flywheel.station_outcome import points_of
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store, iteration_key
from hitl_ops.evaluation.intervals import Interval, PairedDifference
from hitl_ops.training.estimator_report import Agreement

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from hitl_assets.advantage_iterations import AdvantagePaths
    from hitl_assets.advantage_presets import AdvantagePreset
    from hitl_ops.evaluation.metrics import EpisodeScore

PROGRAM = "advantage"
PLOT_FILE = "demo.png"
REFERENCE = "bc"


class VariantOutcome(BaseModel):
    """One kind of policy, its seeds taken together."""

    variant: str
    name: str = Field(description="in words")
    success: Interval = Field(description="mean over episodes of the share of seeds that succeeded")
    by_seed: dict[int, float] = Field(description="seed → success of that training")
    over_bc: PairedDifference | None = Field(description="difference to plain cloning, episode by episode")


class EstimatorOutcome(BaseModel):
    """How well the estimator says what nobody marked."""

    episodes: int = Field(description="new episodes, none of which the estimator was trained on")
    source: str = Field(description="the estimated advantage that labels are made of")
    advantage: Agreement = Field(description="of that one with the true advantage, over all frames")
    absolute_advantage: Agreement = Field(description="the same of the difference of two values")
    value: Agreement = Field(description="of the estimated value with true progress")


class AdvantageOutcome(BaseModel):
    """What the demo came to."""

    task: str
    marked_episodes: int
    new_episodes: int
    new_success: float | None = Field(description="share of the new episodes that succeed; None where nobody knows")
    share_positive: float | None = Field(description="share of the new frames labelled good")
    estimator: EstimatorOutcome | None = Field(description="None where the truth about the new episodes is not known")
    variants: list[VariantOutcome]

    @property
    def points(self) -> float:
        """Success points (of 100) that being told brings over plain cloning."""
        told = next((one for one in self.variants if one.variant == "awbc"), None)
        return 100 * told.over_bc.difference if told is not None and told.over_bc is not None else 0.0


def outcome_of(store: Store, chosen: AdvantagePreset) -> AdvantageOutcome:
    """Read what iteration 000 left behind.

    Raises:
        UserError: it is not through, or its files are damaged.
    """
    from hitl_assets.advantage_data import marked_dataset, new_dataset
    from hitl_assets.advantage_iterations import AdvantagePaths
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.records.lerobot_overlay import open_overlay
    from hitl_ops.records.lerobot_reading import open_lerobot

    iteration = store.iteration(PROGRAM, iteration_key(0))
    paths = AdvantagePaths(iteration)
    _, scores = read_evaluation(iteration.evaluation)
    marked, new = open_lerobot(marked_dataset(chosen, paths)), open_lerobot(new_dataset(chosen, paths))
    truths = [entry.facts.get("success") for entry in new.entries()]
    known = [bool(truth) for truth in truths if truth is not None]
    share = open_overlay(paths.advantage, new).facts.made.get("share_positive")
    return AdvantageOutcome(
        task=next(iter(scores.values()))[next(iter(next(iter(scores.values()))))].instruction,
        marked_episodes=marked.info.total_episodes,
        new_episodes=new.info.total_episodes,
        new_success=sum(known) / len(known) if known else None,
        share_positive=share,
        estimator=_estimator(chosen, paths) if chosen.scripted else None,
        variants=_variants(chosen, scores),
    )


def _estimator(chosen: AdvantagePreset, paths: AdvantagePaths) -> EstimatorOutcome | None:
    """Compare what was estimated of the new episodes with the truth, which only a simulator knows."""
    import numpy as np

    from hitl_assets.advantage_data import new_dataset
    from hitl_ops.experts.scripted_marker import ScriptedMarkerConfig, mark_dataset
    from hitl_ops.models.estimator_config import ABSOLUTE_ADVANTAGE, ABSOLUTE_VALUE
    from hitl_ops.records.lerobot_columns import episode_spans
    from hitl_ops.records.lerobot_overlay import open_overlay
    from hitl_ops.records.lerobot_reading import open_lerobot
    from hitl_ops.samples.progress_rules import marks_progress
    from hitl_ops.training.estimator_report import agreement, true_advantage

    if chosen.recordings.new.world != "bimanual":
        return None
    dataset = new_dataset(chosen, paths)
    folder = open_lerobot(dataset)
    # Without the marker's own slips: it is the truth that is asked for.
    marker = ScriptedMarkerConfig(stages=chosen.marking.marker.stages)
    marks = {entry.index: said for entry, said in mark_dataset(dataset, marker)}
    progress, advantage = [], []
    for span in episode_spans(folder):
        true = marks_progress(marks[span.index], span.length, len(marker.stages))
        progress.append(true)
        advantage.append(true_advantage(true, chosen.estimation.delta))
    said = open_overlay(paths.estimated, folder)
    source = chosen.estimated_labels.column
    truth, brought = np.concatenate(progress), np.concatenate(advantage)
    return EstimatorOutcome(
        episodes=folder.info.total_episodes,
        source=source,
        advantage=agreement(said.column(source), brought),
        absolute_advantage=agreement(said.column(ABSOLUTE_ADVANTAGE), brought),
        value=agreement(said.column(ABSOLUTE_VALUE), truth),
    )


def _variants(chosen: AdvantagePreset, scores: Mapping[str, Mapping[str, EpisodeScore]]) -> list[VariantOutcome]:
    from hitl_ops.evaluation.intervals import bootstrap_interval, paired_difference
    from hitl_ops.training.advantage_config import VARIANT_NAMES, policy_name

    def shares(variant: Any) -> list[float]:
        """Share of the seeds that succeeded, episode by episode."""
        played = [scores[policy_name(variant, seed)] for seed in chosen.policies.seeds]
        names = sorted(played[0])
        if any(sorted(one) != names for one in played):
            raise UserError("the policies were evaluated in different scenes", "materialise awbc_evaluation again")
        return [sum(float(one[name].success) for one in played) / len(played) for name in names]

    found = []
    reference = shares(REFERENCE) if REFERENCE in chosen.policies.variants else None
    for variant in chosen.policies.variants:
        own = shares(variant)
        by_seed = {}
        for seed in chosen.policies.seeds:
            rows = scores[policy_name(variant, seed)].values()
            by_seed[seed] = sum(one.success for one in rows) / len(rows)
        compared = reference is not None and variant != REFERENCE
        found.append(
            VariantOutcome(
                variant=variant,
                name=VARIANT_NAMES[variant],
                success=bootstrap_interval(own),
                by_seed=by_seed,
                over_bc=paired_difference(own, reference) if compared and reference is not None else None,
            )
        )
    return found


def print_outcome(console: Console, outcome: AdvantageOutcome, store: Store, seconds: float) -> None:
    """Print a row a kind of policy, how good the estimates are, and where to look."""
    from rich import box
    from rich.table import Table

    first = outcome.variants[0]
    seeds = len(first.by_seed)
    table = Table(
        title=f"{outcome.task}: success in {first.success.n} scenes nobody trained in, {seeds} trainings each",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("policy", "success (95 %)", "by seed", "over plain cloning"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for one in outcome.variants:
        table.add_row(
            one.name,
            f"{one.success.mean:.0%} ({100 * one.success.low:.0f}–{100 * one.success.high:.0f})",
            " ".join(f"{value:.0%}" for value in one.by_seed.values()),
            points_of(one.over_bc),
        )
    console.print(table)
    good = "" if outcome.share_positive is None else f"; {outcome.share_positive:.0%} of their frames labelled good"
    succeed = "" if outcome.new_success is None else f", {outcome.new_success:.0%} of which succeed"
    console.print(f"Learned from {outcome.new_episodes} episodes nobody marked{succeed}{good}.")
    if outcome.estimator is not None:
        said = [
            f"{one.pearson:.2f}" if one.pearson is not None else "not at all"
            for one in (outcome.estimator.advantage, outcome.estimator.value)
        ]
        console.print(
            f"The estimator learned from {outcome.marked_episodes} marked ones. On the {outcome.estimator.episodes} it "
            f"has not seen, its advantage correlates {said[0]} with the true one, its value {said[1]} with true "
            "progress."
        )
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  plot     {store.root / PROGRAM / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures(PROGRAM)}", soft_wrap=True)
    place = store.iteration(PROGRAM, 0)
    console.print(
        f"  serve it `flywheel serve --policy {place.policy}`; the graph and its plots: `make up`", soft_wrap=True
    )


def draw_outcome(outcome: AdvantageOutcome, path: Path) -> None:
    """Draw success of each kind of policy with its interval, every seed as a point beside it.

    Raises:
        UserError: the disk is full.
    """
    from matplotlib.figure import Figure

    from hitl_ops.contracts.publish import publishing

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colours: Sequence[str] = ("#2f6f9f", "#8a8f98", "#b07c2b", "#5d8a4a")
    for place, (one, colour) in enumerate(zip(outcome.variants, colours, strict=False)):
        mean, low, high = (100 * value for value in (one.success.mean, one.success.low, one.success.high))
        axes.bar(place, mean, width=0.6, color=colour, alpha=0.85)
        axes.errorbar(place, mean, yerr=[[mean - low], [high - mean]], color="#27313b", capsize=5)
        seeds = [100 * value for value in one.by_seed.values()]
        axes.plot([place + 0.2] * len(seeds), seeds, "o", ms=4, c="#27313b")
    names = [one.name.replace(" (", "\n(") for one in outcome.variants]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(ylabel="success, %", ylim=(0, 103), title=outcome.task)
    axes.grid(axis="y", alpha=0.3)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
