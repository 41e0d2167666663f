"""The evaluation's pictures, drawn off screen and equal byte for byte for equal scores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import GroupScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hitl_ops.evaluation.gate import GateVerdict

# Told apart by people with any colour vision (Okabe and Ito's palette).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_INK, _FAINT = "#27313b", "#d9dfe5"


def colours(policies: Sequence[str]) -> dict[str, str]:
    """A colour for each policy."""
    return {name: PALETTE[position % len(PALETTE)] for position, name in enumerate(policies)}


def success_by_group(groups: Mapping[str, Mapping[str, GroupScores]], title: str) -> bytes:
    """Bars of success with interval whiskers: policy → group → figures; returns a PNG."""
    names = list(groups)
    kinds = list(dict.fromkeys(kind for by_kind in groups.values() for kind in by_kind))
    figure, axes = _canvas(title)
    width = 0.8 / max(1, len(names))
    for position, (name, colour) in enumerate(colours(names).items()):
        shown = [(index, groups[name][kind].success) for index, kind in enumerate(kinds) if kind in groups[name]]
        where = [index + (position - (len(names) - 1) / 2) * width for index, _ in shown]
        means = [interval.mean for _, interval in shown]
        reach = [[i.mean - i.low for _, i in shown], [i.high - i.mean for _, i in shown]]
        axes.bar(where, means, width * 0.92, color=colour, label=name)
        axes.errorbar(where, means, yerr=reach, fmt="none", ecolor=_INK, elinewidth=1.1, capsize=3)
        for x, (_, interval) in zip(where, shown, strict=True):
            axes.text(x, 0.02, f"{interval.mean:.0%}", ha="center", va="bottom", color="white", fontsize=8)
    axes.set_xticks(range(len(kinds)), [_label(kind, groups, names) for kind in kinds])
    axes.set_ylim(0, 1.04)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("success")
    axes.legend(frameon=False, ncols=len(names), loc="lower right", bbox_to_anchor=(1, 0.99), borderaxespad=0.2)
    return _png(figure)


def percent_complete(scores: Mapping[str, Sequence[EpisodeScore]], title: str) -> bytes:
    """Share of episodes that got at least so far; returns a PNG."""
    figure, axes = _canvas(title)
    levels = np.linspace(0, 1, 101)
    for (name, rows), colour in zip(scores.items(), colours(list(scores)).values(), strict=True):
        reached = np.asarray([score.percent_complete for score in rows])
        # The tolerance counts 2/3 as having reached 0.666….
        share = [(reached >= level - 1e-9).mean() if reached.size else 0.0 for level in levels]
        axes.plot(levels, share, color=colour, linewidth=2, label=name, drawstyle="steps-pre")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.04)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("at least this much of the task complete")
    axes.set_ylabel("episodes")
    axes.legend(frameon=False, loc="lower left")
    return _png(figure)


def distribution(values: Mapping[str, Sequence[float]], title: str, unit: str, *, logarithmic: bool = False) -> bytes:
    """Histograms of each policy's values over shared bins, with the median marked; returns a PNG."""
    figure, axes = _canvas(title)
    pooled = np.asarray([value for row in values.values() for value in row if not logarithmic or value > 0])
    if pooled.size:
        edges = _edges(pooled, logarithmic)
        for (name, row), colour in zip(values.items(), colours(list(values)).values(), strict=True):
            shown = np.asarray([value for value in row if not logarithmic or value > 0])
            if not shown.size:
                continue
            # Shares, so that policies with different numbers of decisions can be compared.
            weights = np.full(shown.size, 1 / shown.size)
            axes.hist(shown, edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.35)
            axes.hist(shown, edges, weights=weights, histtype="step", color=colour, linewidth=1.6, label=name)
            axes.axvline(float(np.median(shown)), color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(frameon=False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(unit)
    return _png(figure)


def gate_verdict(verdict: GateVerdict) -> bytes:
    """Both policies' means, and the candidate's lead with its interval and the margin; returns a PNG."""
    unit = verdict.config.figure.replace("_", " ")
    title = f"The gate: {'may serve' if verdict.promote else 'may not serve'}"
    figure, axes = _canvas(title)
    names = [f"candidate\n{verdict.candidate}"]
    means = [verdict.candidate_mean]
    if verdict.serving is not None and verdict.serving_mean is not None:
        names.append(f"serving\n{verdict.serving}")
        means.append(verdict.serving_mean)
    axes.bar(range(len(means)), means, 0.55, color=[PALETTE[0], _FAINT][: len(means)])
    for position, mean in enumerate(means):
        axes.text(position, mean + 0.015, f"{mean:.1%}", ha="center", va="bottom", color=_INK, fontsize=9)
    difference = verdict.difference
    if difference is not None and verdict.serving_mean is not None:
        # The lead is drawn on the serving policy's height: above that line the candidate is better.
        base, x = verdict.serving_mean, 2.0
        colour = PALETTE[2] if verdict.promote else PALETTE[5]
        axes.axhline(base - verdict.config.margin, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        reach = [
            [difference.difference - difference.low],
            [difference.high - difference.difference],
        ]
        axes.errorbar([x], [base + difference.difference], yerr=reach, fmt="o", color=colour, capsize=5, linewidth=2)
        names.append(
            f"lead {100 * difference.difference:+.1f} points\n"
            f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(1.08, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel(f"{unit} on {verdict.episodes} episodes")
    return _png(figure)


def _edges(pooled: np.ndarray[Any, Any], logarithmic: bool) -> list[float]:
    low, high = float(pooled.min()), float(pooled.max())
    if logarithmic:
        return np.geomspace(low * 0.95, high * 1.05, 41).tolist()
    return np.linspace(low, high if high > low else low + 1, 31).tolist()


def _label(kind: str, groups: Mapping[str, Mapping[str, GroupScores]], names: Sequence[str]) -> str:
    episodes = max(groups[name][kind].episodes for name in names if kind in groups[name])
    return f"{kind.replace('_', ' ')}\n{episodes} episodes"


def _canvas(title: str) -> tuple[Figure, Axes]:
    # Figure itself, not pyplot: no global state, so that several threads may draw.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.8, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, color=_INK, pad=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=9, length=0)
    axes.grid(axis="y", color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the software tag equal figures are equal bytes.
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()
