"""Success against comparisons: what every further question asked of people brought, with a control beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hitl_ops.contracts.publish import publishing
from hitl_ops.evaluation.intervals import Interval, wilson_interval
from hitl_ops.evaluation.summary import EvaluationSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_FILE = "success_against_comparisons.png"
_STUDENT, _CONTROL = "#2f6f9f", "#b07c2b"


class CurvePoint(BaseModel):
    """What stands after an iteration."""

    model_config = ConfigDict(extra="forbid")

    iteration: int
    comparisons: int = Field(description="answers people had given by then")
    success: Interval = Field(description="of the iteration's policy")
    control: Interval | None = Field(
        description="of the policy that is paid the world's own reward and goes on, whatever the gate says"
    )


def success_of(summary: EvaluationSummary, policy: str) -> Interval:
    """A policy's success with an interval that has a width also where all episodes ended alike (Wilson's then)."""
    found = summary.primary(policy).success
    if found.low < found.high:
        return found
    low, high = wilson_interval(round(found.mean * found.n), found.n)
    return found.model_copy(update={"low": low, "high": high})


def draw_success_against_comparisons(points: Sequence[CurvePoint], title: str, path: Path) -> None:
    """Draw success of policy and control against the number of comparisons, with their intervals.

    Args:
        points: one an iteration, the first one first.
        title: above the plot.
        path: the PNG to publish.

    Raises:
        CannotWrite: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    asked = [float(point.comparisons) for point in points]
    _line(axes, asked, [point.success for point in points], _STUDENT, "o-", "reward learned from comparisons")
    controls = [(at, point.control) for at, point in zip(asked, points, strict=True) if point.control is not None]
    if controls:
        _line(
            axes,
            [at for at, _ in controls],
            [value for _, value in controls],
            _CONTROL,
            "s--",
            "control: the world's own reward, trained on beside it, never set back",
        )
    axes.axhline(90, color="#8a8f98", linewidth=0.8, linestyle=":")
    axes.set(xlabel="comparisons", ylabel="success, %", ylim=(-3, 103), title=title)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    # Below, where no figure can be.
    figure.legend(loc="outside lower center", frameon=False)
    with publishing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _line(axes: Axes, at: Sequence[float], values: Sequence[Interval], colour: str, mark: str, label: str) -> None:
    means = [100 * value.mean for value in values]
    below = [max(0.0, 100 * (value.mean - value.low)) for value in values]
    above = [max(0.0, 100 * (value.high - value.mean)) for value in values]
    axes.errorbar(at, means, yerr=[below, above], fmt=mark, capsize=3, color=colour, label=label)
