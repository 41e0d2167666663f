"""The pictures beside data: bars and histograms, drawn off screen, equal byte for byte for equal figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_ops.contracts.publish import publishing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#3b6ea8", "#d98b2b"


def bars(values: Mapping[str, float], title: str, unit: str, *, form: str = "{:g}") -> Figure:
    """A horizontal bar for each name, labelled with its value in the given form."""
    figure, axes = _figure(title)
    drawn = axes.barh(list(values), list(values.values()), color=_BLUE)
    axes.bar_label(drawn, fmt=form, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    return figure


def histogram(values: Sequence[float], title: str, what: str, *, unit: str = "") -> Figure:
    """How often each value occurs; whole numbers that are few get a bin each."""
    figure, axes = _figure(title)
    if values:
        whole = all(float(value).is_integer() for value in values)
        distinct = int(max(values) - min(values)) + 1 if whole else 40
        axes.hist(values, bins=min(40, distinct), color=_BLUE, edgecolor="white", linewidth=0.4)
    axes.set_ylabel(what)
    if unit:
        axes.set_xlabel(unit)
    return figure


def stacked_bars(parts: Mapping[str, Sequence[float]], names: Sequence[str], title: str, unit: str) -> Figure:
    """A horizontal bar for each of ``names``, put together from two parts, each with as many values as names."""
    figure, axes = _figure(title)
    begun = [0.0] * len(names)
    for (part, values), colour in zip(parts.items(), (_BLUE, _ORANGE), strict=True):
        axes.barh(list(names), list(values), left=begun, color=colour, label=part)
        begun = [before + value for before, value in zip(begun, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if names:
        axes.legend(frameon=False, fontsize=8)
    return figure


def publish_plots(folder: Path, plots: Mapping[str, Figure]) -> None:
    """Publish each figure as ``<name>.png``; what else the folder held is gone.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    with publishing(folder) as temporary:
        temporary.mkdir()
        for name, figure in plots.items():
            # Without the software tag equal figures are equal bytes.
            figure.savefig(temporary / f"{name}.png", dpi=110, metadata={"Software": None})


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
