"""The part of ``flywheel annotate`` that needs nobody: the scripted expert goes through an iteration's plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_ops.contracts.progress import Progress
    from hitl_ops.contracts.store import Store
    from hitl_ops.samples.scripted_expert import ScriptedExpertConfig, ScriptedSummary


def annotate_by_script(
    store: Store,
    iteration: int,
    config: ScriptedExpertConfig,
    progress: Progress,
    *,
    limit: int | None = None,
    annotator: str | None = None,
    labels_url: str | None = None,
) -> ScriptedSummary:
    """Have the scripted expert go through an iteration's plays.

    The plays are those of ``sessions/plays.json`` where session_logs has been materialised; else they are listed first.

    Args:
        store: where everything is kept.
        iteration: whose plays.
        config: how good the expert is.
        progress: told after each play.
        limit: plays it shall have gone through in the end; None: all.
        annotator: whose labels these are; ``scripted-expert`` by default.
        labels_url: the label store; by default the one that belongs to ``store``.

    Raises:
        LabelStoreUnavailable: the label store does not answer.
        UserError: no play of the iteration has finished, or a file is damaged.
    """
    from hitl_ops.contracts.errors import UserError
    from hitl_ops.labels.label_store import LabelStore
    from hitl_ops.samples.collected_plays import listed_plays
    from hitl_ops.samples.scripted_expert import SCRIPTED_EXPERT, annotate_plays

    paths = store.iteration("planner", iteration)
    labels = LabelStore.open(labels_url or store.labels_url)
    try:
        manifest = listed_plays(labels, paths)
        if not manifest.plays:
            raise UserError(
                f"iteration {paths.key} has no finished play",
                f"collect some: `flywheel collect --iteration {iteration}`",
            )
        return annotate_plays(
            labels,
            manifest,
            paths.sessions,
            config,
            limit=limit,
            annotator=annotator or SCRIPTED_EXPERT,
            progress=progress,
        )
    finally:
        labels.close()


def print_summary(summary: ScriptedSummary) -> None:
    """Show what the scripted expert did."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("annotator", f"{summary.annotator}, accuracy {summary.accuracy:g}")
    before = f", {summary.plays_before} were before" if summary.plays_before else ""
    table.add_row("plays", f"{summary.plays} gone through{before}")
    table.add_row("decisions", f"{summary.decisions}, {summary.wrong} wrong, {summary.refused} refused by the home")
    made_up = f", {summary.made_up} of them made up" if summary.made_up else ""
    over = f", {summary.passed_over} passed over" if summary.passed_over else ""
    table.add_row("corrections", f"{summary.corrections}{made_up}{over}")
    table.add_row("human time", f"{summary.seconds / 60:.1f} minutes, modelled")
    for play in summary.left_out:
        table.add_row("[yellow]left out", f"{play.play_id}: {play.reason}")
    Console().print(table)
