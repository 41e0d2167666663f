"""``flywheel progress``: how far each frame of a data set has come, by marks, verdicts or a column, as an overlay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hitl_ops.labels.progress_marks import Mark
    from hitl_ops.records.station_hdf5 import Verdict
    from hitl_ops.samples.progress import ProgressConfig


def progress(
    dataset: Annotated[Path, typer.Argument(help="A LeRobot data set (v3.0 or v2.1); it stays as it is.")],
    out: Annotated[Path, typer.Option("--out", metavar="OVERLAY", help="Folder of the overlay to write.")],
    source: Annotated[
        Literal["marks", "verdicts", "column"] | None,
        typer.Option(help="marks of people, verdicts, or a column that is there already. [default: marks]"),
    ] = None,
    stages: Annotated[int | None, typer.Option(help="Stages of the task. [default: 4]")] = None,
    column: Annotated[str | None, typer.Option(help="The column, with --source column.")] = None,
    label: Annotated[
        list[str],
        typer.Option(metavar="EPISODE=good|bad", help="A verdict, by index or episode id. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    labels_url: Annotated[
        str | None, typer.Option(help="Label store: a SQLAlchemy URL. [default: SQLite in the root]")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Write stage_progress_gt and progress_gt of every frame into an overlay beside a data set.

    Marks and verdicts are read from the label store; what a data set notes of its episodes counts where nobody said
    anything since.
    """
    from rich.console import Console
    from rich.table import Table

    from flywheel.configuration import resolve_config
    from flywheel.convert import read_verdicts
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.samples.progress import ProgressConfig, make_progress

    wanted = resolve_config(
        ProgressConfig,
        {"": ProgressConfig()},
        preset="",
        file=config,
        overrides=overrides,
        options={"source": source, "stages": stages, "column": column},
    )
    if label and wanted.source != "verdicts":
        raise UserError("--label gives verdicts", "use it with --source verdicts")
    marks, verdicts = _said(wanted, dataset, read_verdicts(label), labels_url, root)
    with progress_bar("progress") as bar:
        summary = make_progress(wanted, dataset, out, marks=marks, verdicts=verdicts, progress=bar)
    table = Table(show_header=False)
    table.add_row("episodes", f"{summary.episodes} ({summary.frames} frames)")
    for stage, share in summary.reached.items():
        table.add_row(f"stage {stage} of {summary.stages} reached", f"{share:.0%}")
    table.add_row("ended with progress 1", f"{summary.finished:.0%}")
    table.add_row("mean progress at the end", f"{summary.mean_end:.3f}")
    table.add_row("episodes in which it falls", str(len(summary.falling)))
    Console().print(table)
    print(out)


def _said(
    config: ProgressConfig, dataset: Path, verdicts: dict[str, Verdict], labels_url: str | None, root: Path | None
) -> tuple[Mapping[int, Sequence[Mark]], Mapping[str, Verdict]]:
    """What people said of the data set's episodes: marks, or verdicts, those of the command line before the store's."""
    from hitl_ops.contracts.store import Store
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.labels.station_verdicts import station_verdicts
    from hitl_ops.records.lerobot_reading import open_lerobot
    from hitl_ops.samples.progress import stored_marks

    if config.source == "column" or (config.source == "verdicts" and config.verdict == "success"):
        return {}, verdicts
    store = Store.at(root) if root else Store.from_environment()
    labels = LabelStore.open(labels_url or store.labels_url)
    try:
        if config.source == "marks":
            return stored_marks(labels, dataset, config.stages), {}
        known = {str(entry.facts.get("episode_id", "")) for entry in open_lerobot(dataset).entries()}
        return {}, {**station_verdicts(labels, among=known).verdicts, **verdicts}
    finally:
        labels.close()
