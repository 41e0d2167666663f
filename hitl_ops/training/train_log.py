"""The log of a training, one JSON line a step, and its picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hitl_ops.contracts.publish import disk_errors_named, publish_text, publishing


class TrainLog:
    """Appends lines; on opening it forgets what came after the step the run resumes from.

    Args:
        path: the file.
        resumed_step: lines of later steps are removed, they will be written again.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        kept = [line for line in read_log(path) if line["step"] <= resumed_step]
        publish_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append one line; must hold ``step``."""
        with disk_errors_named(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Make what was written durable; called before a checkpoint that relies on it is published."""
        with disk_errors_named(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a log; a last line cut off by a kill is left out."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
    return lines


def plot_loss(lines: list[dict[str, Any]], path: Path, *, unit: str = "loss per weighted token, nats") -> None:
    """Draw training and validation loss over the steps, and the learning rate below, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.plot([line["step"] for line in lines], [line["loss"] for line in lines], linewidth=1, label="training")
    looked = [line for line in lines if line.get("validation_loss") is not None]
    if looked:
        steps, losses = [line["step"] for line in looked], [line["validation_loss"] for line in looked]
        top.plot(steps, losses, marker="o", markersize=3, label="validation")
    if all(line["loss"] > 0 for line in lines):
        top.set_yscale("log")
    top.set_ylabel(unit)
    top.grid(alpha=0.3)
    top.legend()
    bottom.plot([line["step"] for line in lines], [line["learning_rate"] for line in lines], linewidth=1)
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("step")
    bottom.grid(alpha=0.3)
    with publishing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
