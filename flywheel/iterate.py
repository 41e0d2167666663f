"""``flywheel iterate``: one iteration of a program, from people's plays to the policy that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flywheel.configuration import SetOption
from flywheel.programs import Program, ProgramOption, check_program


def iterate(
    iteration: Annotated[
        int | None, typer.Option(min=1, help="Which one; by default the one at work, or the next.")
    ] = None,
    program: ProgramOption = Program.planner,
    scripted: Annotated[
        bool,
        typer.Option(
            "--scripted",
            help="Scripted people play and a scripted expert corrects, or simulated stations collect: nobody is "
            "waited for.",
        ),
    ] = False,
    preset: Annotated[str, typer.Option(help="Scale: laptop, laptop_loop, paper or tiny_ci.")] = "laptop",
    world: Annotated[
        str | None, typer.Option(help="Where the station's robot is simulated: bimanual or aloha.")
    ] = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> int:
    """Bring one iteration of a program to its end: collect, annotate, train, examine, promote or say why not.

    Waits for people where they are needed and says what to start for them. After a stop it goes on where it was.
    """
    from rich.console import Console

    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.demo_stages import shown_stages
    from flywheel.iteration_run import (
        ITERATION_STAGES,
        Loop,
        ScriptedPeople,
        next_iteration_of,
        refuse_beside_sensors,
        run_iteration,
    )
    from hitl_assets.presets import chosen_preset
    from hitl_ops.contracts.store import Store, iteration_key
    from hitl_ops.evaluation.gate import read_gate

    check_program("iterate", program, Program.planner, Program.station)
    if program is Program.station:
        return _station_epoch(root, iteration, scripted, preset, world or "", overrides)
    chosen = chosen_preset(preset, overrides)
    store = Store.at(root) if root else Store.from_environment()
    errors = Console(stderr=True)
    people = ScriptedPeople(chosen.scripted.crowd, chosen.scripted.expert) if scripted else None
    with opened_instance(store) as instance:
        refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        loop = Loop(store, instance, preset, overrides, chosen, errors)
        number = next_iteration_of(loop) if iteration is None else iteration
        errors.print(f"[bold]planner program, iteration {iteration_key(number)}[/], preset {preset}, in {store.root}")
        with shown_stages(ITERATION_STAGES, errors) as stages:
            code = run_iteration(loop, number, stages, people)
    if code == 0:
        verdict = read_gate(store.iteration("planner", number).evaluation)
        assert verdict is not None  # planner_promotion, which came last, writes it
        print(f"{verdict.candidate} {'serves' if verdict.promote else 'does not serve'}: {verdict.reason}")
    return code


def _station_epoch(
    root: Path | None, iteration: int | None, simulated: bool, preset: str, world: str, overrides: list[str]
) -> int:
    import contextlib

    from rich.console import Console

    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.demo_stages import shown_stages
    from flywheel.iteration_run import refuse_beside_sensors
    from flywheel.simulated_stations import station_servers
    from flywheel.station_run import EPOCH_STAGES, StationTurns, next_epoch_of, run_epoch
    from hitl_assets.station_presets import chosen_station_preset
    from hitl_ops.contracts.store import Store, iteration_key
    from hitl_ops.evaluation.gate import read_gate

    chosen = chosen_station_preset(preset, overrides, world)
    store = Store.at(root) if root else Store.from_environment()
    errors = Console(stderr=True)
    with opened_instance(store) as instance:
        refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        turns = StationTurns(store, instance, preset, world, overrides, chosen, errors)
        number = next_epoch_of(turns) if iteration is None else iteration
        errors.print(f"[bold]station program, iteration {iteration_key(number)}[/], preset {preset}, in {store.root}")
        with (
            station_servers(store) if simulated else contextlib.nullcontext() as servers,
            shown_stages(EPOCH_STAGES, errors) as stages,
        ):
            code = run_epoch(turns, number, stages, servers)
    if code == 0:
        verdict = read_gate(store.iteration("station", number).evaluation)
        assert verdict is not None  # station_promotion, which came last, writes it
        print(f"{verdict.candidate} {'serves' if verdict.promote else 'does not serve'}: {verdict.reason}")
    return code
