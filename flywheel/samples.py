"""``flywheel samples``: cut training samples out of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption


def samples(
    rollout: Annotated[Path, typer.Argument(help="Folder of a rollout, or of traces.")],
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    out: Annotated[
        Path | None, typer.Option(help="The Parquet file; by default samples/<source>.parquet in the rollout's folder.")
    ] = None,
    text: Annotated[Path | None, typer.Option(help="Folder to write every sample to as a text file as well.")] = None,
) -> None:
    """Cut training samples out of traces, with a data card beside them."""
    from rich.console import Console
    from rich.table import Table

    from flywheel.configuration import resolve_config, sections
    from flywheel.progress_bar import progress_bar
    from hitl_ops.samples.build import SampleConfig, build_samples
    from hitl_ops.samples.data_card import write_data_card
    from hitl_ops.samples.export_text import export_sample_texts

    wanted = resolve_config(
        SampleConfig, sections(lambda scale: scale.samples), preset=preset, file=config, overrides=overrides
    )
    traces = rollout / "traces" if (rollout / "traces").is_dir() else rollout
    file = out or rollout / "samples" / f"{wanted.source}.parquet"
    with progress_bar("samples") as progress:
        summary = build_samples(traces, wanted, file, progress)
    write_data_card(file, file.parent)
    if text is not None:
        export_sample_texts(file, text)
    table = Table(show_header=False)
    table.add_row("samples", str(summary.samples))
    table.add_row("of episodes", f"{summary.episodes_kept} ({summary.episodes_cut} cut)")
    for reason, count in summary.dropped.items():
        table.add_row(f"dropped: {reason}", str(count))
    table.add_row("weight", f"{summary.weight:g}")
    Console().print(table)
    print(file)
