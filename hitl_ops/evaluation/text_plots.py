"""Pictures of an agent that learned from games: success before and after each phase, and how it went by rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_ops.contracts.publish import publishing
from hitl_ops.evaluation.intervals import Interval
from hitl_ops.evaluation.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hitl_ops.training.agent_rounds_log import RoundLog

SUCCESS_PLOT = "success_by_agent.png"
ROUNDS_PLOT = "rounds.png"


def draw_success(success: Mapping[str, Interval], title: str, path: Path) -> None:
    """Draw a bar for each agent, with its interval.

    Args:
        success: what the agent is called → share of games won.
        title: above the plot.
        path: the PNG to publish.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    _bars(figure.subplots(), success, title)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def draw_rounds(
    phases: Mapping[str, Sequence[RoundLog]], path: Path, *, begins: Mapping[str, int] | None = None
) -> None:
    """Draw agreement with the expert and success of each round, phase after phase.

    Where rounds are followed by validation games, these are drawn: the same games at every round, which the agent
    plays alone, while the games that it learns in get harder as the expert helps less.

    Args:
        phases: what a phase is called → its rounds; those without any are left out.
        path: the PNG to publish.
        begins: rounds before a phase's first, where it did not begin after all the others.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    _rounds(figure.subplots(), phases, begins or {})
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def draw_demo(
    success: Mapping[str, Interval],
    phases: Mapping[str, Sequence[RoundLog]],
    title: str,
    path: Path,
    *,
    begins: Mapping[str, int] | None = None,
) -> None:
    """Draw both side by side: what came out, and how it came about; see :func:`draw_rounds`.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(success)}
    _bars(left, success, title)
    _rounds(right, phases, begins or {}, colours)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _bars(axes: Axes, success: Mapping[str, Interval], title: str) -> None:
    means = [100 * one.mean for one in success.values()]
    below = [max(0.0, 100 * (one.mean - one.low)) for one in success.values()]
    above = [max(0.0, 100 * (one.high - one.mean)) for one in success.values()]
    colours = [PALETTE[number % len(PALETTE)] for number in range(len(means))]
    axes.bar(range(len(means)), means, 0.6, color=colours)
    axes.errorbar(range(len(means)), means, yerr=[below, above], fmt="none", ecolor="#27313b", capsize=4)
    for place, mean in enumerate(means):
        axes.text(place + 0.06, mean + 1.5, f"{mean:.0f}", fontsize=9)
    axes.set_xticks(range(len(means)), list(success))
    axes.set(ylabel="games won, % (95 %)", ylim=(0, 105))
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)


def _rounds(
    axes: Axes,
    phases: Mapping[str, Sequence[RoundLog]],
    begins: Mapping[str, int],
    colours: Mapping[str, str] | None = None,
) -> None:
    from matplotlib.ticker import MaxNLocator

    last, validated = 0, any(one.val_accuracy is not None for rounds in phases.values() for one in rounds)
    for number, (name, rounds) in enumerate(phases.items()):
        if not rounds:
            continue
        first = begins.get(name, last) + 1
        at = range(first, first + len(rounds))
        colour = (colours or {}).get(name, PALETTE[number % len(PALETTE)])
        last = max(last, at[-1])
        won = [one.val_accuracy if validated else one.accuracy for one in rounds]
        alike = [one.val_agreement if validated else one.agreement for one in rounds]
        for shares, line, opacity, label in ((won, "o-", 1.0, "games won"), (alike, "s--", 0.6, "as the expert")):
            told = [(place, 100 * share) for place, share in zip(at, shares, strict=True) if share is not None]
            if told:
                axes.plot(*zip(*told, strict=True), line, color=colour, alpha=opacity, label=f"{name}: {label}")
    axes.set(xlabel="round", ylabel="%", ylim=(0, 105))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    where = "After each round, alone in validation games" if validated else "In each round, while learning"
    axes.set_title(where, loc="left", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
