"""``flywheel train-reward``: a reward is learned from what people said of pairs of clips."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption

if TYPE_CHECKING:
    from hitl_ops.training.reward_config import RewardTrainConfig
    from hitl_ops.training.reward_training import RewardSummary


class RewardProgram(StrEnum):
    """Whose clips were compared."""

    planner = "planner"
    station = "station"
    preference = "preference"


def train_reward(
    out: Annotated[Path, typer.Option(help="Folder of this reward alone; what lay there is replaced.")],
    samples: Annotated[
        Path | None,
        typer.Option(
            help="Preferences: samples/preferences.jsonl of an iteration. [default: all that stands of --program]"
        ),
    ] = None,
    program: Annotated[
        RewardProgram | None, typer.Option(help="Whose clips were compared; its presets count. [default: preference]")
    ] = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", "-i", min=0, help="With --program: the last one that counts.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    root: Annotated[
        Path | None, typer.Option(help="The store's root; by default FLYWHEEL_HOME, and ./data without it.")
    ] = None,
) -> None:
    """Learn a reward from comparisons: an ensemble, in seconds.

    With --samples from a file, with --program alone from everything people said of that program's clips. `flywheel
    train --program preference` trains on it, `flywheel rank-clips` ranks clips by it, `flywheel clips` asks by it.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_assets.reward_presets import REWARD_PRESETS
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.training.reward_config import RewardTrainConfig

    if samples is None and program is None:
        raise UserError("it is not said what to learn from", "name --program, or a file with --samples")
    if samples is not None and iteration is not None:
        raise UserError("--iteration is of what stands in the store", "leave it out, or --samples")
    with reporting() as report:
        wanted = resolve_config(
            RewardTrainConfig,
            REWARD_PRESETS[program or RewardProgram.preference],
            preset=preset,
            file=config,
            overrides=overrides,
            options={"steps": steps},
        )
        if samples is None:
            samples = _standing(program or RewardProgram.preference, iteration, wanted, out, root)
        elif not samples.is_file():
            raise UserError(f"there are no preferences in '{samples}'", "materialise preference_labels first")
        from hitl_ops.training.reward_training import learn_reward

        with progress_bar("train") as bar:
            summary = learn_reward(samples, wanted, out, both(bar, report.progress))
        report.finished(summary)
    _print_summary(summary, out)


def _standing(
    program: RewardProgram, iteration: int | None, config: RewardTrainConfig, out: Path, root: Path | None
) -> Path:
    """The file of all that stands, beside the reward that is learned from it."""
    from hitl_ops.contracts.store import Store
    from hitl_ops.samples.preference_samples import write_preference_samples
    from hitl_ops.samples.standing_comparisons import join_standing
    from hitl_ops.training.reward_folders import SAMPLES_FILE

    store = Store.at(root) if root else Store.from_environment()
    joined = join_standing(store, program.value, iteration, one_sided_count=not config.weigh_annotators)
    for reason, count in joined.left_out.items():
        print(f"left out: {count} {reason}")
    file = out.expanduser().resolve() / SAMPLES_FILE
    write_preference_samples(joined, file)
    return file


def _print_summary(summary: RewardSummary, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from hitl_ops.training.reward_folders import MODEL_FOLDER

    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    report, figures = summary.report, summary.report.figures
    table = Table(show_header=False)
    table.add_row("reward", f"{summary.members} networks")
    table.add_row("comparisons", f"{figures.comparisons}, {figures.ties} of them ties, {figures.held_out} held out")
    for reason, count in figures.left_out.items():
        table.add_row("left out", f"{count} {reason}")
    table.add_row("agrees with", f"{share(figures.accuracy)} of what it learned from")
    table.add_row("held out", share(figures.validation_accuracy))
    for name, weight in report.annotators.items():
        table.add_row(f"weight of {name}", f"{weight:.2f}")
    if report.truth is not None:
        table.add_row("follows the truth", f"{share(report.truth.pair_accuracy)} of pairs by lot")
    table.add_row("seconds", f"{summary.seconds:.1f}")
    Console().print(table)
    print(out / MODEL_FOLDER)
