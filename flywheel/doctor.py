"""``flywheel doctor``: what is installed, what is missing, and what that disables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flywheel.machine_checks import Check


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list, a row per check.")] = False,
) -> None:
    """Say what is installed, what is missing, and what that disables.

    Exits with 1 only where something is broken; what is merely absent is fine.
    """
    from flywheel.machine_checks import all_checks

    checks = all_checks()
    if as_json:
        print(json.dumps([check.model_dump() for check in checks], indent=2))
    else:
        _print_table(checks)
    if any(check.status == "broken" for check in checks):
        raise typer.Exit(1)


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    marks = {"ok": "[green]✓[/]", "absent": "[yellow]–[/]", "broken": "[red]✗[/]"}
    table = Table("", "", "found", "without it", "remedy", box=None, pad_edge=False)
    group = ""
    for check in sorted(checks, key=lambda check: _order(check.group)):
        if check.group != group:
            group = check.group
            table.add_row("", f"[bold]{group}[/]")
        table.add_row(marks[check.status], check.name, *map(escape, (check.found, check.disables, check.remedy)))
    console = Console()
    console.print(table)
    absent = [check.name for check in checks if check.status == "absent"]
    broken = [check.name for check in checks if check.status == "broken"]
    if broken:
        console.print(f"\n[red]broken: {', '.join(broken)}[/]")
    else:
        console.print("\nFlywheel works here" + (f"; not there: {', '.join(absent)}" if absent else ""))


def _order(group: str) -> int:
    groups = ("machine", "packages", "store", "worlds", "models", "pages")
    return groups.index(group)
