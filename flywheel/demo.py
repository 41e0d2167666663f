"""``flywheel demo``: a program's iteration 0 from end to end, and a table that says what came out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import SetOption
from flywheel.programs import Program

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_ops.contracts.store import Store

# What a person calls the assets, in the graph's order.
PLANNER_STAGES = {
    "household_episodes": "tasks in homes of their own",
    "teacher_rollouts": "the teacher plays",
    "distilled_samples": "its decisions become samples",
    "training_mix": "samples, weighted",
    "planner_adapter": "the student learns",
    "planner_policy": "weights and policy card",
    "planner_evaluation": "both play in unseen homes",
    "planner_promotion": "not worse? then it serves",
}


def demo(
    program: Annotated[Program, typer.Option(help="Which loop to show.")] = Program.planner,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=20,
            help="Then let scripted people, or simulated stations, improve it so often; by default 0, for stations 2, "
            "for preferences as the preset says.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Scale: laptop, laptop_loop, paper or tiny_ci; by default laptop, laptop_loop to iterate."),
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="Where the station's robot is simulated: bimanual or aloha.")
    ] = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Forget what an earlier demo made; otherwise it is gone on with.")
    ] = False,
) -> int:
    """Let a teacher play, a student learn from it, and say how close it came, in homes neither has seen.

    With --iterations the student starts weak, from few tasks, and people's plays and an expert's corrections make it
    better: both scripted, through the collection server and the label store, as people's would be.

    --program station: a base policy out of scripted demonstrations; then a simulated robot is driven by it through the
    real policy server and the real client, its episodes are judged by the simulator's truth, and the policy learns
    from that, epoch by epoch; beside the last one a control that was told nothing.

    --program advantage: the progress of some episodes is marked, an estimator learns to see it, says it of more that
    nobody marked, and a policy is told of each frame how good it was; beside it plain cloning, cloning of good frames
    alone, and advantage-weighted regression, three trainings of each.

    --program preference: scripted people compare clips of an arm that moves by lot, a reward is learned from what they
    say, the arm learns by it, and clips of what it does then are compared next; beside it an arm that is paid by the
    world's own reward.

    --program dagger: an agent that sees and reads plays household text games and imitates an expert that says at every
    step what it would have done; then it learns to prefer the expert's answers to its own. Beside it one that goes on
    imitating for as many rounds.

    Works through Dagster on the instance that `flywheel up` shows. A demo that was cut short goes on where it stopped.
    """
    from rich.console import Console

    from flywheel.demo_table import print_outcome
    from hitl_assets.presets import chosen_preset
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.publish import publish_json
    from hitl_ops.contracts.store import Store
    from hitl_ops.evaluation.evaluate import read_evaluation

    started = time.monotonic()
    if program is Program.station:
        return _station(root, preset or "laptop", world, overrides, 2 if iterations is None else iterations, fresh)
    if world is None and program is Program.advantage:
        return _advantage(root, preset or "laptop", overrides, iterations, fresh)
    if world is None and program is Program.preference:
        return _preference(root, preset or "laptop", overrides, iterations, fresh)
    if world is None and program is Program.dagger:
        return _dagger(root, preset or "laptop", overrides, iterations, fresh)
    iterations = iterations or 0
    if world is not None:
        raise UserError("--world is for stations", "add --program station")
    preset = preset or ("laptop_loop" if iterations else "laptop")
    chosen = chosen_preset(preset, overrides)
    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, program, iterations)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]{program} program, iteration 000[/], preset {preset}, in {store.root}")
    code = _materialise(store, preset, overrides, errors)
    if code != 0:
        return code
    if iterations:
        from flywheel.demo_iterations import iterate_and_tell

        return iterate_and_tell(store, preset, overrides, chosen, iterations, console, errors, started)
    iteration = store.iteration(program, 0)
    summary, _ = read_evaluation(iteration.evaluation)
    seconds = time.monotonic() - started
    publish_json(
        store.demo_figures(program),
        {**summary.as_json(), "preset": preset, "overrides": list(overrides), "seconds": round(seconds, 1)},
    )
    print_outcome(console, summary, chosen.checks.gate_ratio, iteration, seconds)
    return 0


def _station(
    root: Path | None, preset: str, world: str | None, overrides: list[str], iterations: int, fresh: bool
) -> int:
    from rich.console import Console

    from flywheel.demo_station import demo_station
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, Program.station, 20)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]station program[/], preset {preset}, {iterations} epochs, in {store.root}")
    return demo_station(store, preset, world or "", overrides, iterations, console, errors)


def _advantage(root: Path | None, preset: str, overrides: list[str], iterations: int | None, fresh: bool) -> int:
    from rich.console import Console

    from flywheel.demo_advantage import demo_advantage
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.store import Store

    if iterations:
        raise UserError("the advantage program has no further iterations here", "leave --iterations out")
    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, Program.advantage, 0)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]advantage program[/], preset {preset}, in {store.root}")
    return demo_advantage(store, preset, overrides, console, errors)


def _preference(root: Path | None, preset: str, overrides: list[str], iterations: int | None, fresh: bool) -> int:
    from rich.console import Console

    from flywheel.demo_preference import demo_preference
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, Program.preference, 20)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]preference program[/], preset {preset}, in {store.root}")
    return demo_preference(store, preset, overrides, iterations, console, errors)


def _dagger(root: Path | None, preset: str, overrides: list[str], iterations: int | None, fresh: bool) -> int:
    from rich.console import Console

    from flywheel.demo_dagger import demo_dagger
    from hitl_ops.contracts.store import Store

    store = Store.at(root) if root else Store.from_environment()
    if fresh:
        _forget(store, Program.dagger, 20)
    console, errors = Console(), Console(stderr=True)
    errors.print(f"[bold]dagger program[/], preset {preset}, in {store.root}")
    return demo_dagger(store, preset, overrides, iterations or 0, console, errors)


def _forget(store: Store, program: str, iterations: int) -> None:
    """Remove what iteration 000 made; what people gave to later ones is never removed.

    Raises:
        UserError: later iterations are asked for anew, and there are some.
    """
    import shutil

    from hitl_ops.contracts.errors import UserError
    from hitl_ops.contracts.publish import disk_errors_named

    later = [number for number in range(1, iterations + 1) if store.iteration(program, number).base.is_dir()]
    if later:
        raise UserError(
            f"'{store.root}' holds iterations that people worked on ({store.iteration(program, later[0]).key} and on)",
            "name another --root; what people gave is not thrown away",
        )
    iteration = store.iteration(program, 0)
    with disk_errors_named(iteration.base):
        if iteration.base.is_dir():
            shutil.rmtree(iteration.base)
        store.demo_figures(program).unlink(missing_ok=True)


def _materialise(store: Store, preset: str, overrides: list[str], errors: Console) -> int:
    """Run the program's iteration 0 in this process; returns an exit code."""
    from flywheel.dagster_home import opened_instance
    from flywheel.demo_runs import end_what_was_killed
    from flywheel.demo_stages import shown_stages
    from flywheel.job_run import planner_scale, run_job
    from hitl_ops.contracts.store import iteration_key

    with opened_instance(store) as instance, shown_stages(PLANNER_STAGES, errors) as stages:
        end_what_was_killed(instance)
        return run_job(
            "planner_iteration_0",
            iteration_key(0),
            store=store,
            instance=instance,
            scale=planner_scale(preset, overrides),
            stages=stages,
            errors=errors,
        )
