"""``flywheel convert``: recordings or older data sets to LeRobot v3; judge episodes anew, leave episodes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.records.station_hdf5 import Verdict


def convert(
    source: Annotated[Path, typer.Argument(help="Folder of *.hdf5 recordings, or a LeRobot data set (v3.0 or v2.1).")],
    out: Annotated[
        Path | None,
        typer.Argument(help="Folder of the data set to write; a LeRobot v3.0 source may be changed in place."),
    ] = None,
    label: Annotated[
        list[str],
        typer.Option(metavar="EPISODE=good|bad", help="A verdict: by file name, index or episode id. Repeatable."),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    exclude: Annotated[
        list[str], typer.Option(metavar="EPISODE", help="An episode to leave out, named alike. Repeatable.")
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> None:
    """Make a LeRobot data set (v3.0) of recordings or of an older data set."""
    from rich.console import Console
    from rich.table import Table

    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.config import apply_overrides, load_config
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.records.lerobot_edit import rewrite_dataset
    from hitl_ops.records.lerobot_layout import INFO_PATH, LEGACY_VERSION, read_info
    from hitl_ops.samples.station_dataset import StationDatasetConfig, build_station_dataset

    verdicts = read_verdicts(label)
    table = Table(show_header=False)
    if (source / INFO_PATH).is_file():
        if config is not None or overrides:
            raise UserError("--config and --set are for recordings", "a data set has been configured already")
        if out is None and read_info(source).version == LEGACY_VERSION:
            raise UserError(f"'{source}' is of version {LEGACY_VERSION}", "name a folder for the new data set")
        with progress_bar("convert") as progress:
            info = rewrite_dataset(source, out, verdicts=verdicts, drop=exclude, progress=progress)
        table.add_row("episodes", str(info.total_episodes))
        table.add_row("frames", str(info.total_frames))
    else:
        if out is None:
            raise UserError("where to is missing", "flywheel convert RECORDINGS DATASET")
        wanted = load_config(StationDatasetConfig, config) if config is not None else StationDatasetConfig()
        with progress_bar("convert") as progress:
            summary = build_station_dataset(
                source, out, apply_overrides(wanted, overrides), progress, verdicts=verdicts, exclude=exclude
            )
        table.add_row("episodes", f"{summary.episodes} ({summary.good} good, {summary.bad} bad)")
        table.add_row("frames", str(summary.frames))
        table.add_row("videos", f"{summary.videos_encoded} encoded, {summary.videos_kept} kept")
        for reason, names in summary.excluded.items():
            table.add_row(f"left out: {reason}", str(len(names)))
    Console().print(table)
    print(out or source)


def read_verdicts(labels: list[str]) -> dict[str, Verdict]:
    """Verdicts as a command line says them, ``EPISODE=good`` or ``EPISODE=bad``.

    Raises:
        UserError: one is written otherwise.
    """
    from hitl_ops.contracts.errors import UserError

    found: dict[str, Verdict] = {}
    for text in labels:
        name, _, said = text.rpartition("=")
        if not name or said not in ("good", "bad"):
            raise UserError(f"label '{text}' is malformed", "write it as EPISODE=good or EPISODE=bad")
        found[name] = "good" if said == "good" else "bad"
    return found
