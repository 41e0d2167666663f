"""``flywheel episodes``: make the household tasks, each proved solvable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption


def episodes(
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    out: Annotated[Path | None, typer.Option(help="Folder of the episode files; by default the store's.")] = None,
) -> None:
    """Generate household episodes for training, validation and test, in homes that no two splits share.

    What is there already in the wanted size is kept.
    """
    from rich.console import Console
    from rich.table import Table

    from flywheel.configuration import resolve_config, sections
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.store import Store
    from hitl_ops.rollouts.episode_sets import EpisodeSetConfig, generate_episode_sets

    wanted = resolve_config(
        EpisodeSetConfig, sections(lambda scale: scale.episodes), preset=preset, file=config, overrides=overrides
    )
    folder = out or Store.from_environment().episodes
    with progress_bar("episodes") as progress:
        summary = generate_episode_sets(wanted, folder, progress)
    table = Table("split")
    kinds = sorted({kind for counts in summary.task_types.values() for kind in counts})
    for heading in ("episodes", "homes", *kinds):
        table.add_column(heading, justify="right")
    for split, count in summary.counts.items():
        types = (summary.task_types[split].get(kind, 0) for kind in kinds)
        table.add_row(split, *map(str, (count, len(summary.homes[split]), *types)))
    Console().print(table)
    print(folder)
