"""``flywheel label-advantage``: label the frames of a data set by the progress they bring."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hitl_ops.samples.advantage_labels import AdvantageLabelSummary


class DiscretionType(StrEnum):
    """Two labels, or slices of equal share."""

    binary = "binary"
    n_slices = "n_slices"


class AdvantageSource(StrEnum):
    """What advantages are made of."""

    progress = "progress"
    absolute_advantage = "absolute_advantage"
    relative_advantage = "relative_advantage"


def label_advantage(
    dataset: Annotated[Path, typer.Argument(help="A LeRobot data set, v2.1 or v3.0.")],
    threshold: Annotated[
        float, typer.Option(help="Percent of the frames that become positive, the best ones (binary).")
    ] = 70.0,
    chunk_size: Annotated[int, typer.Option(help="Frames to look ahead in progress.")] = 50,
    discretion_type: Annotated[
        DiscretionType, typer.Option(help="Positive and negative, or slices of equal share.")
    ] = DiscretionType.binary,
    n_slices: Annotated[int, typer.Option(help="How many slices.")] = 10,
    advantage_source: Annotated[
        AdvantageSource, typer.Option(help="Column that advantages are made of; the latter two are taken as they are.")
    ] = AdvantageSource.progress,
    progress_column: Annotated[
        str, typer.Option(help="Column that progress is read from, such as progress_gt or stage_progress_gt.")
    ] = "progress",
    stage_nums: Annotated[
        int, typer.Option(help="Stages of stage_progress_gt, each labelled by its own frames alone.")
    ] = 1,
    task: Annotated[str | None, typer.Option(help="The task in words; by default the data set's own.")] = None,
    with_: Annotated[
        list[Path], typer.Option("--with", metavar="OVERLAY", help="An overlay whose columns count. Repeatable.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    out: Annotated[
        Path | None, typer.Option(help="A new data set to write, its videos linked; in place by default.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="An overlay to write the labels to; the data set stays untouched.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="File for the histograms; by default <result>-advantage.png beside it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Take the figures, write no labels.")] = False,
) -> None:
    """Label every frame by its advantage, for policies that are told it in their prompt.

    The advantage is the progress of the next frames. Labels are task_index and the prompts of the tasks, equal to
    those of kai0's gt_label.py. A file that fails leaves the data set as it was.
    """
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.config import parse_config
    from hitl_ops.samples.advantage_labels import AdvantageLabelConfig
    from hitl_ops.samples.advantage_labels import label_advantage as labelled

    given = {
        "threshold": threshold,
        "chunk_size": chunk_size,
        "discretion_type": discretion_type.value,
        "n_slices": n_slices,
        "advantage_source": advantage_source.value,
        "progress_column": progress_column,
        "stage_nums": stage_nums,
        "task": task,
    }
    config = parse_config(AdvantageLabelConfig, given, source="label-advantage")
    if plot is None and not dry_run:
        result = (overlay or out or dataset).resolve()
        plot = result.with_name(f"{result.name}-advantage.png")
    with progress_bar("label-advantage") as progress:
        summary = labelled(
            dataset, config, progress, out=out, overlay=overlay, overlays=with_, plot=plot, dry_run=dry_run
        )
    _print(summary)


def _print(summary: AdvantageLabelSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    console, stages = Console(), summary.stages
    table = Table("", title=f"advantage of {summary.frames:,} frames in {summary.episodes:,} episodes")
    for stage in stages:
        table.add_column(f"stage {stage.stage}" if len(stages) > 1 else "all", justify="right")
    table.add_row("frames", *(f"{stage.frames:,}" for stage in stages))
    for name in ("mean", "std", "min", "max"):
        table.add_row(name, *(_figure(getattr(stage, name)) for stage in stages))
    for percent in range(0, 101, 10):
        table.add_row(f"{percent} %", *(_figure(stage.percentiles.get(percent)) for stage in stages))
    table.add_section()
    for number, task in enumerate(summary.tasks):
        cells = [f"{stage.shares[number]:.1%}" if stage.frames else "" for stage in stages]
        table.add_row(f"{number}: {task}", *cells)
    console.print(table)
    if summary.share_positive is not None:
        asked = summary.config.threshold / 100
        ties = " (frames with equal advantage lie on the threshold)" if summary.share_positive > asked + 0.005 else ""
        console.print(f"positive: {summary.share_positive:.2%} of the frames, {asked:.2%} asked for{ties}")
    if summary.plot is not None:
        console.print(f"histograms: {summary.plot}", soft_wrap=True)
    print(summary.result if summary.result is not None else "dry run: no label was written")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
