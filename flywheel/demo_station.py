"""``flywheel demo --program station``: what judging a robot's episodes brought, as a table, a plot and JSON."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flywheel.station_outcome import PLOT_FILE, PROGRAM, draw_epochs, outcome_of, print_outcome
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    from rich.console import Console

    from flywheel.station_run import StationTurns
    from hitl_ops.contracts.store import Store


def demo_station(
    store: Store,
    preset: str,
    world: str,
    overrides: Sequence[str],
    iterations: int,
    console: Console,
    errors: Console,
) -> int:
    """Run iterations 0 to ``iterations`` with simulated stations, and the controls; tell what came out.

    Args:
        store: holds everything.
        preset: name of the scale.
        world: the world; "" for the preset's own.
        overrides: ``section.key=value`` laid over it.
        iterations: the last one.
        console: where the table goes.
        errors: where stages and defects are told.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended, sensors are at work on the store, or it holds
            another demo.
    """
    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.station_run import StationTurns
    from hitl_assets.station_presets import chosen_station_preset
    from hitl_ops.contracts.publish import publish_json

    started = time.monotonic()
    chosen = chosen_station_preset(preset, overrides, world)
    if iterations > chosen.loop.iterations:  # their scenes must be nobody else's either
        chosen = chosen.replace(loop={"iterations": iterations})
    with opened_instance(store) as instance:
        if iterations:
            from flywheel.iteration_run import refuse_beside_sensors

            refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        turns = StationTurns(store, instance, preset, world, overrides, chosen, errors)
        if code := _all_of_it(turns, iterations):
            return code
    outcome = outcome_of(store, chosen, iterations)
    seconds = time.monotonic() - started
    draw_epochs(outcome, store.root / PROGRAM / PLOT_FILE)
    figures: dict[str, Any] = outcome.model_dump(mode="json")
    figures |= {
        "success_points": round(outcome.points, 2),
        "preset": preset,
        "overrides": list(overrides),
        "seconds": round(seconds, 1),
    }
    publish_json(store.demo_figures(PROGRAM), figures)
    print_outcome(console, outcome, store, seconds)
    return 0


def _all_of_it(turns: StationTurns, iterations: int) -> int:
    from flywheel.demo_scale import decisive_of_station, note_scale, refuse_another_scale
    from flywheel.demo_stages import shown_stages
    from flywheel.simulated_stations import station_servers
    from flywheel.station_run import BASE_STAGES, CONTROL_STAGES, EPOCH_STAGES, run_base, run_epoch
    from hitl_assets.station_iterations import STATION_LOOP

    def through(iteration: int) -> bool:
        done = STATION_LOOP.through(turns.instance, turns.store, iteration)
        turns.errors.print(f"[bold]iteration {iteration_key(iteration)}[/]{' is through already' if done else ''}")
        return done

    if through(0):
        refuse_another_scale(turns.store, PROGRAM, decisive_of_station(turns.chosen))
    else:
        note_scale(turns.store, PROGRAM, decisive_of_station(turns.chosen))
        with shown_stages(BASE_STAGES, turns.errors) as stages:
            if code := run_base(turns, stages):
                return code
    if not iterations:
        return 0
    with contextlib.ExitStack() as stack:
        servers = None
        for iteration in range(1, iterations + 1):
            if through(iteration):
                continue
            servers = servers or stack.enter_context(station_servers(turns.store))
            with shown_stages(EPOCH_STAGES, turns.errors) as stages:
                if code := run_epoch(turns, iteration, stages, servers):
                    return code
    turns.errors.print("[bold]controls[/]: nobody's word listened to; demonstrations only")
    with shown_stages(CONTROL_STAGES, turns.errors) as stages:
        return turns.job("station_control", iteration_key(iterations), stages)
