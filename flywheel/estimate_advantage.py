"""``flywheel estimate-advantage``: a trained estimator says value and advantage of every frame of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.samples.estimated_advantages import EstimationSummary


def estimate_advantage(
    estimator: Annotated[Path, typer.Argument(help="Folder of a trained estimator.")],
    dataset: Annotated[Path, typer.Argument(help="A LeRobot data set (v3.0 or v2.1); its own files stay as they are.")],
    overlay: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an overlay to write. Without it: data_<NAME>_<steps> in a v2.1 data set, an overlay beside"
            " a v3.0 one."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="NAME of the estimates; the estimator's variant if not given.")
    ] = None,
    delta: Annotated[int | None, typer.Option(help="Frames an advantage looks ahead: 50 if not given.")] = None,
    show: Annotated[
        list[int],
        typer.Option(metavar="EPISODE", help="Draw an episode's value and advantage under its video. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    truth: Annotated[
        Path | None, typer.Option(help="Overlay with stage_progress_gt, which --show draws beside the value.")
    ] = None,
    films: Annotated[Path, typer.Option(help="Folder for what --show draws.")] = Path("films"),
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Estimate value and advantage of every frame; what was finished before is kept."""
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_ops.samples.estimated_advantages import EstimationConfig, estimate_advantages

    with reporting() as report:
        wanted = resolve_config(
            EstimationConfig,
            {"standard": EstimationConfig()},
            preset="standard",
            file=config,
            overrides=overrides,
            options={"name": name, "delta": delta},
        )
        with progress_bar("estimate") as bar:
            summary = estimate_advantages(estimator, dataset, wanted, overlay, both(bar, report.progress))
        _print_summary(summary)
        drawn = _draw(dataset, summary, show, films, [] if truth is None else [truth])
        report.finished({**summary.model_dump(mode="json"), "films": [str(path) for path in drawn]})
    for path in (*drawn, summary.place):
        print(path)


def _draw(
    dataset: Path, summary: EstimationSummary, episodes: list[int], films: Path, overlays: list[Path]
) -> list[Path]:
    from flywheel.progress_bar import progress_bar

    if not episodes:
        return []
    from hitl_ops.evaluation.advantage_film import draw_episode, film_episode

    drawn = []
    for episode in episodes:
        stem = films / f"{dataset.resolve().name}_{summary.name}_episode_{episode:06d}"
        picture, film = stem.with_suffix(".png"), stem.with_suffix(".mp4")
        draw_episode(dataset, episode, Path(summary.place), picture, overlays=overlays)
        with progress_bar(f"film of episode {episode}") as bar:
            film_episode(dataset, episode, Path(summary.place), film, bar, overlays=overlays)
        drawn += [picture, film]
    return drawn


def _print_summary(summary: EstimationSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("estimates", f"{summary.name}: {', '.join(summary.columns)}")
    table.add_row("episodes", f"{summary.episodes}, {summary.estimated_now} of them now")
    table.add_row("frames", str(summary.frames))
    if summary.frames_per_second is not None:
        table.add_row("speed", f"{summary.frames_per_second:,.0f} frames/s")
    if summary.idle_share is not None:
        table.add_row("model idle", f"{summary.idle_share:.0%} of the time")
    Console().print(table)
