"""The picture beside advantage labels: a histogram of each stage's advantages, cut where the labels change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hitl_ops.contracts.publish import publishing
from hitl_ops.samples.stage_advantage import Discretion, StageStatistics

_BLUE, _ORANGE = "#3b6ea8", "#d98b2b"


def publish_advantage_plot(file: str | Path, stages: Sequence[StageStatistics], discretion: Discretion) -> None:
    """Draw and publish a PNG, a row a stage.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.8 + 2.2 * len(stages)), layout="constrained")
    for stage, axes in zip(stages, figure.subplots(len(stages), squeeze=False)[:, 0], strict=True):
        title = f"stage {stage.stage}: {stage.frames:,} frames" if len(stages) > 1 else f"{stage.frames:,} frames"
        if discretion == "binary" and stage.frames:
            title += f", {stage.shares[1]:.1%} positive"
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel("frames")
        if stage.frames:
            axes.stairs(stage.histogram, stage.histogram_edges, fill=True, color=_BLUE)
            for boundary in stage.boundaries:
                axes.axvline(boundary, color=_ORANGE, linewidth=1)
    axes.set_xlabel("advantage")
    with publishing(file) as temporary:
        # Without the software tag equal figures are equal bytes.
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": None})
