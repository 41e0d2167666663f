"""``flywheel demo --program dagger``: what imitating and then preferring brings, as a table, a plot and JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flywheel.dagger_outcome import PLOT_FILE, PROGRAM, draw_outcome, outcome_of, print_outcome
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    import dagster as dg
    from rich.console import Console

    from hitl_assets.dagger_presets import DaggerPreset
    from hitl_ops.contracts.store import Store

# What a person calls the assets, in the graph's order.
DAGGER_STAGES: Mapping[str, str] = {
    "dagger_games": "games to learn from, and to be examined on",
    "expert_rounds": "it plays, the expert says what it would do",
    "bc_policy": "what imitation came to",
    "preference_rounds": "it plays on, and prefers the expert's answers",
    "preference_pairs": "what was preferred to what",
    "dpo_policy": "what preferring came to",
    "bc_control": "beside it: as much imitation",
    "dagger_evaluation": "all play games nobody learned from",
    "dagger_promotion": "not worse? then it serves",
}


def demo_dagger(
    store: Store, preset: str, overrides: Sequence[str], iterations: int, console: Console, errors: Console
) -> int:
    """Run iterations 0 to ``iterations``; tell what came out.

    Args:
        store: holds everything.
        preset: name of the scale.
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
    from flywheel.iteration_run import refuse_beside_sensors
    from hitl_assets.dagger_presets import chosen_dagger_preset
    from hitl_ops.contracts.publish import publish_json

    started = time.monotonic()
    chosen = chosen_dagger_preset(preset, overrides)
    with opened_instance(store) as instance:
        if iterations:
            refuse_beside_sensors(instance)
        end_what_was_killed(instance)
        for iteration in range(iterations + 1):
            if code := _iterate(store, instance, preset, overrides, chosen, iteration, errors):
                return code
    outcome = outcome_of(store, chosen.world, iterations)
    seconds = time.monotonic() - started
    draw_outcome(store, outcome, store.root / PROGRAM / PLOT_FILE)
    last = outcome.iterations[-1]
    figures: dict[str, Any] = outcome.model_dump(mode="json")
    figures |= {f"success_{name}": round(agent.success.mean, 4) for name, agent in last.agents.items()}
    figures |= {"preset": preset, "overrides": list(overrides), "seconds": round(seconds, 1)}
    publish_json(store.demo_figures(PROGRAM), figures)
    print_outcome(console, outcome, store, seconds)
    return 0


def _iterate(
    store: Store,
    instance: dg.DagsterInstance,
    preset: str,
    overrides: Sequence[str],
    chosen: DaggerPreset,
    iteration: int,
    errors: Console,
) -> int:
    """Open an iteration and bring it to its end; what is done already is not done again. Returns an exit code."""
    from flywheel.demo_scale import decisive_of_dagger, note_scale, refuse_another_scale
    from flywheel.demo_stages import shown_stages
    from flywheel.job_run import dagger_scale, run_job
    from hitl_assets.dagger_iterations import DAGGER_LOOP, open_dagger_iteration, open_first_dagger_iteration

    through = DAGGER_LOOP.through(instance, store, iteration)
    errors.print(f"[bold]iteration {iteration_key(iteration)}[/]{' is through already' if through else ''}")
    if not iteration:
        open_first_dagger_iteration(instance)
        (refuse_another_scale if through else note_scale)(store, PROGRAM, decisive_of_dagger(chosen))
    else:
        open_dagger_iteration(instance, store, iteration)
    if through:
        return 0
    with shown_stages(DAGGER_STAGES, errors) as stages:
        return run_job(
            "dagger_iteration",
            iteration_key(iteration),
            store=store,
            instance=instance,
            scale=dagger_scale(preset, overrides),
            stages=stages,
            errors=errors,
        )
