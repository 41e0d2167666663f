"""Success against comparisons: every run a thin line, their mean a thick one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hitl_ops.contracts.publish import publishing


def draw_success(runs: dict[str, list[list[dict[str, Any]]]], wanted: float, out: Path) -> None:
    """Publish the plot.

    Args:
        runs: side → a list of lines of every run, each with ``comparisons`` and ``success``.
        wanted: the share of targets that is asked for.
        out: a PNG file.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, found) in enumerate(runs.items()):
        color = f"C{number}"
        curves = [[np.array([line[key] for line in lines]) for key in ("comparisons", "success")] for lines in found]
        for comparisons, success in curves:
            axes.plot(comparisons, success, color=color, alpha=0.3, linewidth=1)
        # All runs of a side are examined after the same comparisons.
        mean = np.mean([success for _, success in curves], axis=0)
        axes.plot(curves[0][0], mean, color=color, linewidth=2.5, marker="o", markersize=4, label=name)
    axes.axhline(wanted, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="comparisons", ylabel="share of targets reached", ylim=(0, 1.02), xlim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize=8)
    with publishing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
