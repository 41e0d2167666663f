"""``flywheel demo --program preference``: what every comparison brought, as a table, a plot and JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flywheel.preference_outcome import PLOT_FILE, PROGRAM, draw_outcome, outcome_of, print_outcome
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    from rich.console import Console

    from flywheel.preference_run import PreferenceTurns
    from hitl_ops.contracts.store import Store


def demo_preference(
    store: Store, preset: str, overrides: Sequence[str], iterations: int | None, console: Console, errors: Console
) -> int:
    """Run iterations 0 to ``iterations`` with scripted people; tell what came out.

    Args:
        store: holds everything.
        preset: name of the scale.
        overrides: ``section.key=value`` laid over it.
        iterations: the last one; None: the preset's last.
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
    from flywheel.iteration_run import refuse_beside_sensors
    from flywheel.preference_run import PreferenceTurns
    from hitl_assets.preference_presets import chosen_preference_preset
    from hitl_ops.contracts.publish import publish_json

    started = time.monotonic()
    chosen = chosen_preference_preset(preset, overrides)
    last = chosen.loop.iterations if iterations is None else iterations
    with opened_instance(store) as instance:
        refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        turns = PreferenceTurns(store, instance, preset, overrides, chosen, errors)
        if code := _all_of_it(turns, last):
            return code
    outcome = outcome_of(store, chosen, last)
    seconds = time.monotonic() - started
    draw_outcome(outcome, store.root / PROGRAM / PLOT_FILE)
    figures: dict[str, Any] = outcome.model_dump(mode="json")
    figures |= {
        "success": round(outcome.turns[-1].success.mean, 4),
        "comparisons": outcome.turns[-1].comparisons,
        "preset": preset,
        "overrides": list(overrides),
        "seconds": round(seconds, 1),
    }
    publish_json(store.demo_figures(PROGRAM), figures)
    print_outcome(console, outcome, store, seconds)
    return 0


def _all_of_it(turns: PreferenceTurns, last: int) -> int:
    from flywheel.demo_scale import decisive_of_preference, note_scale, refuse_another_scale
    from flywheel.demo_stages import shown_stages
    from flywheel.preference_run import PREFERENCE_STAGES, run_preference_iteration
    from hitl_assets.preference_iterations import PREFERENCE_LOOP

    decisive = decisive_of_preference(turns.chosen)
    for iteration in range(last + 1):
        done = PREFERENCE_LOOP.through(turns.instance, turns.store, iteration)
        turns.errors.print(f"[bold]iteration {iteration_key(iteration)}[/]{' is through already' if done else ''}")
        if not iteration:
            if done:
                refuse_another_scale(turns.store, PROGRAM, decisive)
            else:
                note_scale(turns.store, PROGRAM, decisive)
        if done:
            continue
        with shown_stages(PREFERENCE_STAGES, turns.errors) as stages:
            if code := run_preference_iteration(turns, iteration, stages):
                return code
    return 0
