"""What imitating and then preferring brought an agent: read from the store, as a table, a plot and plain data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import iteration_key
from hitl_ops.evaluation.intervals import Interval, PairedDifference

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_ops.contracts.store import IterationPaths, Store
    from hitl_ops.evaluation.summary import EvaluationSummary
    from hitl_ops.evaluation.text_evaluation import AgentFigures
    from hitl_ops.training.agent_rounds_log import RoundLog

PLOT_FILE = "demo.png"
PROGRAM = "dagger"
SPLIT = "test"


class AgentOutcome(BaseModel):
    """What one agent did in the games nobody learned from."""

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(description="what it is called")
    policy_id: str
    games: int
    success: Interval
    agreement: float | None = Field(description="share of labelled steps at which it chose as the expert")
    invalid: float = Field(description="share of commands to which nothing happened")
    steps: float = Field(description="mean commands of a game")
    families: dict[str, Interval] = Field(description="success by task family")


class RoundOutcome(BaseModel):
    """What one round came to."""

    model_config = ConfigDict(extra="forbid")

    phase: str = Field(description="bc, dpo or control")
    round: int = Field(description="from 1")
    games: int
    success: float
    agreement: float | None
    beta: float = Field(description="probability that the expert's command was given")
    loss: float | None
    W_reward: float | None
    L_reward: float | None
    NLL: float | None
    val_success: float | None = Field(description="share won of the validation games that it then played alone")
    val_agreement: float | None = Field(description="share of their steps at which it chose as the expert")


class IterationOutcome(BaseModel):
    """What one iteration came to."""

    model_config = ConfigDict(extra="forbid")

    iteration: int
    policy_id: str
    agents: dict[str, AgentOutcome] = Field(description="untrained, bc, control, dpo, serving, as far as there are")
    rounds: list[RoundOutcome]
    pairs: int = Field(description="pairs that were preferred")
    dpo_over_bc: PairedDifference | None = Field(description="success of both in the same games")
    dpo_over_control: PairedDifference | None = Field(description="the same beside as much imitation")
    promoted: bool = Field(description="whether the gate let it serve")
    verdict: str = Field(description="the gate's reason")


class DaggerOutcome(BaseModel):
    """What a number of iterations came to."""

    model_config = ConfigDict(extra="forbid")

    world: str
    expert: str = Field(description="whose answers were learned")
    note: str = Field(description="whose pictures were seen, and whether the games are the papers'")
    iterations: list[IterationOutcome]


def outcome_of(store: Store, world: str, iterations: int) -> DaggerOutcome:
    """Read what iterations 0 to ``iterations`` left behind.

    Raises:
        UserError: one of them is not through, or its files are damaged.
    """
    from hitl_assets.dagger_iterations import DaggerPaths
    from hitl_ops.evaluation.text_evaluation import read_text_figures
    from hitl_ops.records.round_games import list_round_games, read_result
    from hitl_ops.training.agent_rounds import GAMES

    games = list_round_games(DaggerPaths(store.iteration(PROGRAM, 0)).dpo / GAMES)
    return DaggerOutcome(
        world=world,
        expert=read_result(games[0]).expert if games else "",
        note=read_text_figures(store.iteration(PROGRAM, iterations).evaluation).note,
        iterations=[_iteration(store.iteration(PROGRAM, number)) for number in range(iterations + 1)],
    )


def _iteration(paths: IterationPaths) -> IterationOutcome:
    from hitl_assets.dagger_examination import BC, CONTROL, DPO, SERVING, SPOKEN
    from hitl_assets.dagger_iterations import DaggerPaths
    from hitl_ops.evaluation.evaluate import read_evaluation
    from hitl_ops.evaluation.gate import read_gate
    from hitl_ops.evaluation.text_evaluation import read_text_figures
    from hitl_ops.samples.round_rows import read_pairs
    from hitl_ops.training.agent_rounds_log import read_rounds

    verdict = read_gate(paths.evaluation)
    if verdict is None:
        raise UserError(f"the gate has not decided on iteration {paths.key}", "bring it to its end first")
    summary, scores = read_evaluation(paths.evaluation)
    figures, own = read_text_figures(paths.evaluation), DaggerPaths(paths)
    phases = {"bc": own.bc, "dpo": own.dpo, "control": own.control_rounds}
    won = {
        name: {row.episode_id: float(row.success) for row in rows.values() if row.split == SPLIT}
        for name, rows in scores.items()
    }
    start = BC if BC in won else SERVING  # where an iteration did not imitate, it started from what serves
    return IterationOutcome(
        iteration=paths.iteration,
        policy_id=verdict.candidate,
        agents={name: _agent(name, summary, figures.agents[name][SPLIT]) for name in SPOKEN if name in figures.agents},
        rounds=[_round(name, one) for name, folder in phases.items() for one in read_rounds(folder)],
        pairs=len(read_pairs(paths.samples)[0]),
        dpo_over_bc=_difference(won, DPO, start, summary),
        dpo_over_control=_difference(won, DPO, CONTROL, summary),
        promoted=verdict.promote,
        verdict=verdict.reason,
    )


def _agent(name: str, summary: EvaluationSummary, found: AgentFigures) -> AgentOutcome:
    from hitl_assets.dagger_examination import SPOKEN

    return AgentOutcome(
        agent=SPOKEN[name],
        policy_id=summary.policy_ids.get(name, ""),
        games=found.games,
        success=found.success,
        agreement=found.agreement,
        invalid=found.invalid,
        steps=found.steps,
        families=found.families,
    )


def _round(phase: str, one: RoundLog) -> RoundOutcome:
    return RoundOutcome(
        phase=phase,
        round=one.round + 1,
        games=one.games,
        success=one.accuracy,
        agreement=one.agreement,
        beta=one.beta,
        loss=one.loss,
        W_reward=one.W_reward,
        L_reward=one.L_reward,
        NLL=one.NLL,
        val_success=one.val_accuracy,
        val_agreement=one.val_agreement,
    )


def _difference(
    won: dict[str, dict[str, float]], name: str, other: str, summary: EvaluationSummary
) -> PairedDifference | None:
    from hitl_ops.evaluation.intervals import paired_difference

    if name not in won or other not in won:
        return None
    games = sorted(won[name])
    return paired_difference(
        [won[name][game] for game in games],
        [won[other][game] for game in games],
        resamples=summary.config.resamples,
        level=summary.config.level,
        seed=summary.config.seed,
    )


def print_outcome(console: Console, outcome: DaggerOutcome, store: Store, seconds: float) -> None:
    """Print what each agent came to, what every round came to, and where to look."""
    for one in outcome.iterations:
        _print_agents(console, one)
        _print_rounds(console, one)
        for other, difference in (("BC", one.dpo_over_bc), ("as much BC", one.dpo_over_control)):
            if difference is not None:
                console.print(
                    f"DPO over {other}: {100 * difference.difference:+.1f} points "
                    f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f}, p {difference.p_value:.2f})"
                )
        served = "[green]serves[/]" if one.promoted else "[yellow]refused[/]"
        console.print(f"{one.pairs} pairs preferred; the policy {served}: {one.verdict}", soft_wrap=True)
    console.print(outcome.note, soft_wrap=True)
    console.print(f"The expert: {outcome.expert}. All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  plot     {store.root / PROGRAM / PLOT_FILE}", soft_wrap=True)
    console.print(f"  figures  {store.demo_figures(PROGRAM)}", soft_wrap=True)
    console.print("  the graph and its plots: `make up`", soft_wrap=True)


def _print_agents(console: Console, one: IterationOutcome) -> None:
    from rich import box
    from rich.table import Table

    games = next(iter(one.agents.values())).games
    table = Table(
        title=f"Iteration {iteration_key(one.iteration)}: {games} games nobody learned from",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("agent", "won, % (95 %)", "as the expert", "did nothing", "steps"):
        table.add_column(name, justify="left" if name == "agent" else "right", no_wrap=True)
    for agent in one.agents.values():
        table.add_row(
            agent.agent,
            _percent(agent.success),
            _figure(agent.agreement),
            _figure(agent.invalid),
            f"{agent.steps:.1f}",
        )
    console.print(table)


def _print_rounds(console: Console, one: IterationOutcome) -> None:
    from rich import box
    from rich.table import Table

    from hitl_assets.dagger_examination import SPOKEN

    table = Table(
        title="While learning", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    validated = any(row.val_success is not None for row in one.rounds)
    headings = ["phase", "round", "won", "agrees", "expert", "loss", "W / L reward"]
    for name in [*headings, *(["val", "agrees"] if validated else [])]:
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for row in one.rounds:
        pay = "" if row.W_reward is None or row.L_reward is None else f"{row.W_reward:+.2f} / {row.L_reward:+.2f}"
        table.add_row(
            SPOKEN[row.phase],
            str(row.round),
            f"{row.success:.0%}",
            _figure(row.agreement, ".0%"),
            f"{row.beta:.0%}",
            _figure(row.loss, ".3f"),
            pay,
            *([_figure(row.val_success, ".0%"), _figure(row.val_agreement, ".0%")] if validated else []),
        )
    console.print(table)
    told = "agrees: did as the expert would have; expert: gave the command"
    console.print(f"[dim]{told}{'; val: won alone in validation games' if validated else ''}[/]", soft_wrap=True)


def _percent(value: Interval) -> str:
    return f"{100 * value.mean:.1f} ({100 * value.low:.0f}–{100 * value.high:.0f})"


def _figure(value: float | None, form: str = ".1%") -> str:
    return "–" if value is None else format(value, form)


def draw_outcome(store: Store, outcome: DaggerOutcome, path: Path) -> None:
    """Draw success of the last iteration's agents, and its rounds.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from hitl_assets.dagger_examination import rounds_of
    from hitl_ops.evaluation.text_plots import draw_demo

    last = outcome.iterations[-1]
    phases, begins = rounds_of(store.iteration(PROGRAM, last.iteration))
    success = {agent.agent: agent.success for agent in last.agents.values()}
    games = next(iter(last.agents.values())).games
    draw_demo(success, phases, f"{games} games nobody learned from", path, begins=begins)
