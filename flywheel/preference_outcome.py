"""What comparing clips brought: read from the store, as a table, a plot and plain data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from hitl_ops.evaluation.intervals import Interval

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_assets.preference_presets import PreferencePreset
    from hitl_ops.contracts.store import IterationPaths, Store
    from hitl_ops.evaluation.evaluate import Scores

PLOT_FILE = "demo.png"
PROGRAM = "preference"
FINAL_FOLDER = "final"


class TurnOutcome(BaseModel):
    """What one iteration came to."""

    model_config = ConfigDict(extra="forbid")

    iteration: int
    policy_id: str
    comparisons: int = Field(description="answers people had given by then, those asked again included")
    human_seconds: float = Field(description="of people's time for all of them, s")
    held_out_accuracy: float | None = Field(description="share of held-out answers the reward agrees with")
    held_out: int = Field(description="held-out answers")
    true_accuracy: float | None = Field(
        description="share of pairs by lot, among all clips, in which the reward names the truly better one"
    )
    success: Interval = Field(description="share of targets reached by the iteration's policy")
    held: float = Field(description="share of targets where its hand is still there at the end")
    control: Interval | None = Field(
        description="success of the policy paid by the world's own reward: trained on beside it, never set back"
    )
    control_held: float | None
    steps: int = Field(description="PPO steps of this iteration's training, as many for the control")
    policy_steps: int = Field(description="PPO steps that made the policy: its own, and those of what it went on from")
    control_steps: int | None = Field(description="the same of the control; more after a refusal, which it outlives")
    promoted: bool = Field(description="whether the gate let it serve")
    verdict: str = Field(description="the gate's reason")


class PreferenceOutcome(BaseModel):
    """What a number of iterations came to."""

    model_config = ConfigDict(extra="forbid")

    turns: list[TurnOutcome]
    serving: str = Field(description="id of the policy that serves in the end")
    serving_success: Interval = Field(description="its success on the targets by which it was chosen")
    final_success: Interval = Field(description="its success on as many targets that nobody was chosen by")
    final_control: Interval | None = Field(description="that of the last control")


def outcome_of(store: Store, chosen: PreferencePreset, iterations: int) -> PreferenceOutcome:
    """Read what iterations 0 to ``iterations`` left behind, and score what serves once more, on other targets.

    Args:
        store: holds them.
        chosen: what they were made with.
        iterations: the last one.

    Raises:
        UserError: one of them is not through, or its files are damaged.
    """
    from hitl_assets.preference_iterations import PreferencePaths
    from hitl_ops.serving.policy_alias import resolve

    so_far: dict[str, int] = {}
    turns = [_turn(store.iteration(PROGRAM, number), so_far) for number in range(iterations + 1)]
    serving = resolve(store, PROGRAM)
    served = next((turn for turn in turns if serving is not None and turn.policy_id == serving.policy_id), None)
    if served is None:
        raise UserError(f"no policy of these iterations serves in '{store.root}'", "name another --root")
    control = PreferencePaths(store.iteration(PROGRAM, iterations)).control if turns[-1].control is not None else None
    success, beside = final_success(store, chosen, served.policy_id, control)
    return PreferenceOutcome(
        turns=turns,
        serving=served.policy_id,
        serving_success=served.success,
        final_success=success,
        final_control=beside,
    )


def final_success(
    store: Store, chosen: PreferencePreset, serving: str, control: IterationPaths | None
) -> tuple[Interval, Interval | None]:
    """Success of what serves, and of the last control, on targets that nobody was chosen by.

    Args:
        store: holds them; the scores go to ``preference/final``.
        chosen: the world, and which targets (``evaluation.final_seed``).
        serving: id of what serves.
        control: the last control; None where there is none.

    Raises:
        UserError: weights are gone or damaged, or the disk is full.
    """
    from hitl_assets.preference_examination import CONTROL, SERVING
    from hitl_assets.preference_policies import control_of
    from hitl_ops.evaluation.comparison_curve import success_of
    from hitl_ops.evaluation.reach_evaluation import evaluate_reach_policies
    from hitl_ops.models.reach_policy import WEIGHTS_FOLDER, load_reach_policy

    players = {SERVING: (store.policy(PROGRAM, serving), serving)}
    if control is not None:
        players[CONTROL] = control.policy, control_of(control).policy_id
    summary = evaluate_reach_policies(
        {name: load_reach_policy(folder / WEIGHTS_FOLDER, known) for name, (folder, known) in players.items()},
        chosen.world,
        store.root / PROGRAM / FINAL_FOLDER,
        chosen.evaluation.final(),
        policy_ids={name: known for name, (_, known) in players.items()},
    )
    return success_of(summary, SERVING), None if control is None else success_of(summary, CONTROL)


def _turn(paths: IterationPaths, so_far: dict[str, int]) -> TurnOutcome:
    """What an iteration came to; ``so_far`` is the steps that made each policy, by id, and is added to."""
    from hitl_assets.preference_examination import CONTROL, STUDENT
    from hitl_assets.preference_iterations import PreferencePaths
    from hitl_ops.evaluation.comparison_curve import success_of
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.evaluation.gate import read_gate
    from hitl_ops.models.planner_lm import read_card
    from hitl_ops.samples.preference_card import read_preference_card
    from hitl_ops.training.reward_training import read_reward_summary

    verdict = read_gate(paths.evaluation)
    if verdict is None:
        raise UserError(f"the gate has not decided on iteration {paths.key}", "bring it to its end first")
    summary, scores = read_evaluation(paths.evaluation)
    said = read_preference_card(paths.samples)
    report = read_reward_summary(PreferencePaths(paths).reward).report
    with_control = CONTROL in summary.policies
    cards = [read_card(paths.policy), *([read_card(PreferencePaths(paths).control.policy)] if with_control else [])]
    for card in cards:
        so_far[card.policy_id] = card.config["ppo"]["total_steps"] + so_far.get(card.parent, 0)
    return TurnOutcome(
        iteration=paths.iteration,
        policy_id=verdict.candidate,
        comparisons=said.comparisons,
        human_seconds=said.human_seconds,
        held_out_accuracy=report.figures.validation_accuracy,
        held_out=report.figures.held_out,
        true_accuracy=None if report.truth is None else report.truth.pair_accuracy,
        success=success_of(summary, STUDENT),
        held=_held(scores, STUDENT),
        control=success_of(summary, CONTROL) if with_control else None,
        control_held=_held(scores, CONTROL) if with_control else None,
        steps=cards[0].config["ppo"]["total_steps"],
        policy_steps=so_far[cards[0].policy_id],
        control_steps=so_far[cards[1].policy_id] if with_control else None,
        promoted=verdict.promote,
        verdict=verdict.reason,
    )


def _held(scores: Scores, policy: str) -> float:
    rows = list(scores[policy].values())
    return sum(row.percent_complete == 1.0 for row in rows) / max(1, len(rows))


def print_outcome(console: Console, outcome: PreferenceOutcome, store: Store, seconds: float) -> None:
    """Print a row an iteration, and where to look."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"The hand within 5 cm of {outcome.turns[0].success.n} targets nobody trained on, % (95 %)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("iteration", "comparisons", "held out", "success", "held", "control", "gate"):
        table.add_column(name, justify="left" if name in ("iteration", "gate") else "right", no_wrap=True)
    for row in outcome.turns:
        table.add_row(
            iteration_key(row.iteration),
            str(row.comparisons),
            "–" if row.held_out_accuracy is None else f"{100 * row.held_out_accuracy:.0f} ({row.held_out})",
            _percent(row.success),
            f"{100 * row.held:.0f}",
            "–" if row.control is None else _percent(row.control),
            "[green]serves[/]" if row.promoted else "[yellow]refused[/]",
        )
    console.print(table)
    last = outcome.turns[-1]
    console.print("held out: answers the reward agrees with, of (so many) it did not learn from")
    console.print("held: the hand is still there at the end; control: paid by the world's own")
    console.print("reward, trained on beside it, never set back\n")
    console.print(
        f"{last.comparisons} comparisons, {last.human_seconds / 60:.0f} minutes of people's time. What serves,"
    )
    console.print(_final(outcome))
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  curve    {store.root / PROGRAM / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures(PROGRAM)}", soft_wrap=True)
    console.print("  compare by yourself: `flywheel compare`; the graph and its plots: `make up`", soft_wrap=True)


def _final(outcome: PreferenceOutcome) -> str:
    told = f"on {outcome.final_success.n} targets nobody has looked at: {_exactly(outcome.final_success)}"
    return told if outcome.final_control is None else f"{told}, control {_exactly(outcome.final_control)}"


def _exactly(value: Interval) -> str:
    return f"{100 * value.mean:.1f} % ({100 * value.low:.0f}–{100 * value.high:.0f})"


def _percent(value: Interval) -> str:
    return f"{100 * value.mean:.0f} ({100 * value.low:.0f}–{100 * value.high:.0f})"


def draw_outcome(outcome: PreferenceOutcome, path: Path) -> None:
    """Draw success of policy and control against the number of comparisons.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from hitl_ops.evaluation.comparison_curve import CurvePoint, draw_success_against_comparisons

    points = [
        CurvePoint(iteration=row.iteration, comparisons=row.comparisons, success=row.success, control=row.control)
        for row in outcome.turns
    ]
    title = f"The hand within 5 cm of {outcome.turns[0].success.n} targets nobody trained on"
    draw_success_against_comparisons(points, title, path)
