"""``flywheel train --program advantage``: a policy told of advantages, and its baselines, from the same data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hitl_ops.training.action_policy import ActionTrainSummary


def train_advantage(
    dataset: Path,
    overlays: list[Path],
    out: Path,
    steps: int | None,
    preset: str,
    config: Path | None,
    overrides: list[str],
) -> None:
    """Train all of them, as the verb does.

    Args:
        dataset: folder of the data set.
        overlays: folders with labels, and with advantages for AWR, laid over it.
        out: every training gets a folder of its own below.
        steps: optimizer steps of each, in place of the configuration's.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.

    Raises:
        UserError: the data set, an overlay or the configuration cannot be used.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_assets.advantage_presets import ADVANTAGE_PRESETS
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.training.advantage_config import AdvantagePoliciesConfig
    from hitl_ops.training.advantage_policies import train_advantage_policies

    with reporting() as report:
        wanted = resolve_config(
            AdvantagePoliciesConfig,
            {name: one.policies for name, one in ADVANTAGE_PRESETS.items()},
            preset=preset,
            file=config,
            overrides=overrides,
            options={"training.steps": steps},
        )
        if not dataset.is_dir():
            raise UserError(f"data set '{dataset}' does not exist", "make it with `flywheel convert`")
        with progress_bar("train") as bar:
            done = train_advantage_policies(wanted, dataset, overlays, out, both(bar, report.progress))
        report.finished({name: summary.model_dump(mode="json") for name, summary in done.items()})
    _print_summaries(done)
    print(out)


def _print_summaries(done: Mapping[str, ActionTrainSummary]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("policy", "frames", "good", "bad", "steps", "training loss", "validation loss", "seconds"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, one in done.items():
        losses = ["" if value is None else f"{value:.4f}" for value in (one.train_loss, one.validation_loss)]
        counts = (one.train_frames, one.frames_good, one.frames_bad)
        table.add_row(name, *map(str, counts), f"{one.steps} of {one.total_steps}", *losses, f"{one.seconds:.0f}")
    Console().print(table)
