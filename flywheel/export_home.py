"""``flywheel export-home``: a generated home as files that other engines read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_home(
    scene_id: Annotated[str, typer.Argument(help="A generated home, such as flywheel_val_000.")],
    out: Annotated[Path, typer.Option(help="Folder of its files; new, empty, or an older export.")],
) -> None:
    """Write a home as GLB, with Habitat's configurations and a manifest."""
    from rich.console import Console
    from rich.table import Table

    from hitl_ops.worlds.habitat.home_export import export_home as write_home
    from hitl_ops.worlds.household.catalog import OBJECT_SHAPES
    from hitl_ops.worlds.household.kinematic_scene import load_scene

    write_home(load_scene(scene_id).description, OBJECT_SHAPES, out)
    table = Table("name")
    for heading in ("files", "kB"):
        table.add_column(heading, justify="right")
    for entry in sorted(out.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        files = [file for file in entry.iterdir() if file.is_file()] if entry.is_dir() else [entry]
        size = sum(file.stat().st_size for file in files) / 1000
        table.add_row(f"{entry.name}/" if entry.is_dir() else entry.name, str(len(files)), f"{size:,.1f}")
    Console().print(table)
    print(out)
