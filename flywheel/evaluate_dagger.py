"""``flywheel evaluate --program dagger``: agents play games they have not learned from, and are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.text_game import TextGame
    from hitl_ops.evaluation.summary import EvaluationSummary
    from hitl_ops.evaluation.text_evaluation import TextExaminationConfig, TextFigures


def evaluate_dagger(
    folders: Mapping[str, Path],
    out: Path,
    games: Sequence[Path],
    preset: str,
    config: Path | None,
    overrides: list[str],
) -> None:
    """Examine agents, as the verb does.

    Args:
        folders: name → folder of a policy, a finished phase, or an agent.
        out: the evaluation's folder.
        games: files of games; none: the preset's test games are made.
        preset: scale to start from.
        config: YAML file laid over it.
        overrides: single values laid over that.

    Raises:
        UserError: an agent, the games or the configuration cannot be used.
    """
    from flywheel.configuration import resolve_config
    from flywheel.pipes_report import both, reporting
    from flywheel.progress_bar import progress_bar
    from hitl_assets.dagger_presets import DAGGER_PRESETS
    from hitl_assets.named_preset import named_preset
    from hitl_ops.evaluation.report import write_report
    from hitl_ops.evaluation.text_evaluation import TextExaminationConfig
    from hitl_ops.rollouts.text_game_sets import make_text_games, read_text_games

    with reporting() as report:
        wanted = resolve_config(
            TextExaminationConfig,
            {name: one.examination for name, one in DAGGER_PRESETS.items()},
            preset=preset,
            file=config,
            overrides=overrides,
        )
        if games:
            played = [game for file in games for game in read_text_games(file)]
        else:
            chosen = named_preset(DAGGER_PRESETS, preset)
            played = make_text_games(chosen.world_config, "test", chosen.games)
        with progress_bar("evaluate") as bar:
            summary, figures = evaluate_by(folders, played, wanted, out, both(bar, report.progress))
        report.finished({"agents": len(folders), "games": len(played)})
    page = write_report(out, title="Agents in household text games", note=figures.note)
    _print_figures(summary, figures)
    print(page)


def evaluate_by(
    folders: Mapping[str, Path],
    games: Sequence[TextGame],
    config: TextExaminationConfig,
    out: Path,
    progress: Progress,
) -> tuple[EvaluationSummary, TextFigures]:
    """Examine agents named by their folders; see :func:`hitl_ops.evaluation.text_evaluation.evaluate_text_agents`.

    Raises:
        UserError: an agent cannot be used.
    """
    from flywheel.train_dagger import agent_folder
    from hitl_assets.dagger_examination import TEXT_EXAMINATION_SOURCES
    from hitl_assets.provenance import code_version
    from hitl_ops.evaluation.text_evaluation import evaluate_text_agents
    from hitl_ops.models.planner_lm import CARD_FILE, read_card
    from hitl_ops.models.vision_agent_files import read_agent_facts

    agents = {}
    for name, folder in folders.items():
        place = agent_folder(folder)
        # An agent without a card goes by its own name.
        carded = (folder / CARD_FILE).is_file()
        agents[name] = place, read_card(folder).policy_id if carded else read_agent_facts(place).policy_id
    return evaluate_text_agents(
        agents, games, config, out, progress, code_version=code_version(*TEXT_EXAMINATION_SOURCES)
    )


def _print_figures(summary: EvaluationSummary, figures: TextFigures) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("agent", "split", caption=f"{summary.config.level:.0%} intervals by bootstrap over games")
    for heading in ("games", "won", "steps", "as the expert", "did nothing"):
        table.add_column(heading, justify="right")
    for name, splits in figures.agents.items():
        for split, one in splits.items():
            table.add_row(
                name,
                split,
                str(one.games),
                f"{one.success.mean:.1%} ({100 * one.success.low:.0f}–{100 * one.success.high:.0f})",
                f"{one.steps:.1f}",
                "–" if one.agreement is None else f"{one.agreement:.1%}",
                f"{one.invalid:.1%}",
            )
    console = Console()
    console.print(table)
    console.print(figures.note, soft_wrap=True)
