"""``flywheel demo --program advantage``: what telling a policy of advantages brings, as a table, a plot and JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flywheel.advantage_outcome import PLOT_FILE, PROGRAM, draw_outcome, outcome_of, print_outcome
from hitl_ops.contracts.store import iteration_key

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_ops.contracts.store import Store

# What a person calls the assets, in the graph's order.
ADVANTAGE_STAGES: Mapping[str, str] = {
    "advantage_recordings": "careful and careless hands play",
    "progress_dataset": "some of it is marked",
    "labeled_dataset": "marks become labels",
    "advantage_estimator": "the estimator learns to see progress",
    "estimated_dataset": "it looks at what nobody marked",
    "advantage_dataset": "estimates become labels",
    "awbc_policy": "a policy is told of them, others less",
    "awbc_evaluation": "all play in unseen scenes",
}


def demo_advantage(store: Store, preset: str, overrides: Sequence[str], console: Console, errors: Console) -> int:
    """Run iteration 0; tell what came out.

    Args:
        store: holds everything.
        preset: name of the scale.
        overrides: ``section.key=value`` laid over it.
        console: where the table goes.
        errors: where stages and defects are told.

    Returns:
        An exit code.

    Raises:
        UserError: a stage failed by something that can be mended.
    """
    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.demo_stages import shown_stages
    from flywheel.job_run import advantage_scale, run_job
    from hitl_assets.advantage_iterations import open_first_advantage_iteration
    from hitl_assets.advantage_presets import chosen_advantage_preset
    from hitl_ops.contracts.publish import publish_json

    started = time.monotonic()
    chosen = chosen_advantage_preset(preset, overrides)
    with opened_instance(store) as instance, shown_stages(ADVANTAGE_STAGES, errors) as stages:
        end_what_was_killed(instance)
        open_first_advantage_iteration(instance)
        code = run_job(
            "advantage_iteration_0",
            iteration_key(0),
            store=store,
            instance=instance,
            scale=advantage_scale(preset, overrides),
            stages=stages,
            errors=errors,
        )
    if code:
        return code
    outcome = outcome_of(store, chosen)
    seconds = time.monotonic() - started
    draw_outcome(outcome, store.root / PROGRAM / PLOT_FILE)
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
