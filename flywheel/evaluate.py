"""``flywheel evaluate``: score rollouts, compare policies, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.configuration import ConfigOption, PresetOption, SetOption
from flywheel.programs import Program, ProgramOption, check_program

if TYPE_CHECKING:
    from hitl_ops.evaluation.intervals import Interval
    from hitl_ops.evaluation.summary import EvaluationSummary


def evaluate(
    policies: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FOLDER...",
            help="Policies by name, each with its rollout's folder; for robots and agents with the policy's own.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the evaluation.")],
    episodes: Annotated[
        list[Path],
        typer.Option(
            help="Episode file every policy should have played; gaps count as failures. For --program dagger a file "
            "of games to play. Repeatable."
        ),
    ] = [],  # noqa: B006  # Typer makes a new list for every call
    preset: PresetOption = "laptop",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006  # Typer makes a new list for every call
    program: ProgramOption = Program.planner,
) -> None:
    """Score what policies did, with intervals, compare them on the same episodes, and write the report page.

    --program station: policies for robots play the same simulated episodes first.

    --program dagger: agents play the same text games first, those of the preset's test split or of --episodes.

    The policy named `teacher` is the one the others are compared with; `--set reference=NAME` takes another.
    """
    check_program("evaluate", program, Program.planner, Program.station, Program.dagger)
    if program is Program.dagger:
        from flywheel.evaluate_dagger import evaluate_dagger

        return evaluate_dagger(_folders(policies), out, episodes, preset, config, overrides)
    if program is Program.station:
        return _evaluate_robots(policies, out, preset, config, overrides)
    from flywheel.configuration import resolve_config, sections
    from flywheel.progress_bar import progress_bar
    from hitl_ops.contracts.episode import read_episodes
    from hitl_ops.evaluation.evaluate import summarise
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.summary import EvaluationConfig

    wanted = resolve_config(
        EvaluationConfig,
        sections(lambda scale: scale.evaluation.scoring),
        preset=preset,
        file=config,
        overrides=overrides,
    )
    expected = [episode for file in episodes for episode in read_episodes(file)]
    with progress_bar("evaluate") as progress:
        summary = summarise(_folders(policies), out, wanted, progress, expected=expected)
    page = write_report(out)
    _print_summary(summary)
    print(page)


def _evaluate_robots(policies: list[str], out: Path, preset: str, config: Path | None, overrides: list[str]) -> None:
    from flywheel.configuration import resolve_config
    from flywheel.progress_bar import progress_bar
    from hitl_assets.provenance import EXAMINATION_SOURCES, code_version
    from hitl_assets.station_presets import STATION_PRESETS
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.robot_evaluation import RobotEvaluationConfig, evaluate_robot_policies
    from hitl_ops.models.planner_lm import CARD_FILE, read_card

    wanted = resolve_config(
        RobotEvaluationConfig,
        {name: scale.evaluation for name, scale in STATION_PRESETS.items()},
        preset=preset,
        file=config,
        overrides=overrides,
    )
    folders = _folders(policies)
    # A policy of somebody else's has no card; it is known by where it lies.
    ids = {
        name: read_card(folder).policy_id if (folder / CARD_FILE).is_file() else str(folder.resolve())
        for name, folder in folders.items()
    }
    with progress_bar("evaluate") as progress:
        summary = evaluate_robot_policies(
            folders, out, wanted, progress, policy_ids=ids, code_version=code_version(*EXAMINATION_SOURCES)
        )
    page = write_report(out, title="Policies for a robot")
    _print_summary(summary)
    print(page)


def _folders(named: list[str]) -> dict[str, Path]:
    from hitl_ops.contracts.errors import UserError

    folders: dict[str, Path] = {}
    for policy in named:
        name, separator, text = policy.partition("=")
        if not separator or not text:
            raise UserError(f"policy '{policy}' is malformed", "write it as name=folder")
        if name in folders:
            raise UserError(f"policy '{name}' is named twice", "give each a name of its own")
        folder = Path(text).expanduser()
        folders[name] = folder / "traces" if (folder / "traces").is_dir() else folder
    return folders


def _print_summary(summary: EvaluationSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    level = f"{summary.config.level:.0%}"
    table = Table("policy", "split", caption=f"{level} intervals by bootstrap over {summary.config.cluster_by}s")
    for heading in ("episodes", "success", "complete", "steps", "ms/decision"):
        table.add_column(heading, justify="right")
    for name, splits in summary.policies.items():
        for split, scores in splits.items():
            table.add_row(
                name,
                split,
                str(scores.episodes),
                _percent(scores.success),
                _percent(scores.percent_complete),
                f"{scores.sim_steps.mean:,.0f}" if scores.sim_steps else "",
                f"{scores.latency_ms.p50:.1f}" if scores.latency_ms else "",
            )
    console = Console()
    console.print(table)
    for key, comparisons in summary.comparisons.items():
        for split, comparison in comparisons.items():
            ratio = comparison.success_ratio
            if ratio.value is not None:
                interval = f" [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio.low is not None else ""
                console.print(f"{key.replace('_', ' ')}, {split}: {ratio.value:.2f} of the success{interval}")


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.1%} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"
