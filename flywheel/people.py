"""``flywheel people``: scripted people who play at a collection server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, SetOption

if TYPE_CHECKING:
    from ui_collect.scripted_people.crowd import CrowdSummary


def people(
    link: Annotated[str, typer.Argument(metavar="LINK", help="Invitation link as `flywheel collect` prints it.")],
    number: Annotated[int | None, typer.Option("--people", "-n", min=1, help="How many people. [default: 4]")] = None,
    episodes: Annotated[
        int | None, typer.Option(min=0, help="Tries each of them makes; 0: until the server says thanks. [default: 0]")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Minutes after which all leave; 0: when done.")] = None,
    skill: Annotated[float | None, typer.Option(min=0, max=1, help="Share of sensible acts. [default: 1]")] = None,
    speed: Annotated[float | None, typer.Option(min=0.01, help="How quick they are. [default: 1]")] = None,
    drops: Annotated[float | None, typer.Option(min=0, help="Broken connections a minute, each. [default: 0]")] = None,
    never_back: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of those that nobody returns from. [default: 0]")
    ] = None,
    coach: Annotated[
        Path | None, typer.Option(help="Episode file or folder: they then know where things lie unseen.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="What they choose depends on it. [default: 0]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
) -> int:
    """Let scripted people join a collection server by an invitation, play, and leave.

    They speak the page's own protocol and know what the page shows. Exit code 1 where the server broke the protocol.
    """
    import asyncio

    import uvloop

    from flywheel.configuration import resolve_config
    from ui_collect.scripted_people.coach import Coach
    from ui_collect.scripted_people.crowd import run_crowd
    from ui_collect.scripted_people.front_door import split_link
    from ui_collect.scripted_people.people_settings import PeopleSettings

    settings = resolve_config(
        PeopleSettings,
        {"": PeopleSettings()},
        preset="",
        file=config,
        overrides=overrides,
        options={
            "people": number,
            "episodes": episodes,
            "duration_s": minutes * 60 if minutes is not None else None,
            "seed": seed,
            "person.skill": skill,
            "person.speed": speed,
            "person.drops_per_minute": drops,
            "person.never_back": never_back,
        },
    )
    url, invitation = split_link(link)
    whispering = Coach.read(coach) if coach is not None else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        summary = runner.run(run_crowd(url, invitation, settings, coach=whispering)).summary
    if as_json:
        print(summary.model_dump_json(indent=2))
    else:
        _print_table(summary)
    return 1 if summary.defects else 0


def _print_table(summary: CrowdSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    rate = f"{summary.successes / summary.plays:.0%}" if summary.plays else "–"
    table.add_row("people", f"{summary.people} ({', '.join(f'{n} {how}' for how, n in summary.ended.items())})")
    table.add_row("tries", f"{summary.plays}, success {rate}, {summary.percent_complete:.0%} complete")
    table.add_row("acts", f"{summary.acts}, of which {summary.refused_acts} refused by the world")
    table.add_row("overrides", str(summary.overrides))
    table.add_row("broken connections", f"{summary.drops}, plays resumed {summary.resumed}")
    table.add_row("input to picture", f"p50 {summary.latency_ms_p50:.0f} ms, p95 {summary.latency_ms_p95:.0f} ms")
    table.add_row("received", f"{summary.bytes_per_s:,.0f} bytes/s a person")
    for defect in summary.defects[:10]:
        table.add_row("[red]defect", defect)
    Console().print(table)
