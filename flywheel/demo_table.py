"""The demo's last word: teacher and student side by side, and where to look further."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from hitl_ops.contracts.store import IterationPaths
    from hitl_ops.evaluation.intervals import Ratio
    from hitl_ops.evaluation.summary import EvaluationSummary, GroupScores

_SPLITS = {"val": "validation homes", "test": "test homes"}


def print_outcome(
    console: Console, summary: EvaluationSummary, gate: float, iteration: IterationPaths, seconds: float
) -> None:
    """Print success by split and task type with intervals, their ratio against the gate, latencies, and where to look.

    Args:
        console: where to.
        summary: the evaluation.
        gate: least ratio of the student's success over the teacher's.
        iteration: the folders that were filled.
        seconds: how long it took.
    """
    from rich import box
    from rich.table import Table

    level = f"{summary.config.level:.0%}"
    table = Table(title="Success of teacher and student", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("episodes", justify="right")
    table.add_column(f"teacher ({level})", justify="right")
    table.add_column(f"student ({level})", justify="right")
    table.add_column(f"ratio ({level})", justify="right")
    teacher, student = summary.policies["teacher"], summary.policies["student"]
    for split, scores in student.items():
        comparison = summary.comparisons["student_over_teacher"].get(split)
        ratio = comparison.success_ratio if comparison else None
        title = f"[bold]{_SPLITS.get(split, split)}[/]"
        table.add_row(title, *_cells(teacher[split], scores), _ratio(ratio))
        for kind, own in scores.by_task_type.items():
            table.add_row(f"  {kind.replace('_', ' ')}", *_cells(teacher[split].by_task_type[kind], own), "")
        table.add_section()
    console.print(table)

    figures = summary.figures()
    latencies = figures["decisions_latency_ms"]
    medians = [f"{name} {values['p50']:.1f} ms" for name, values in latencies.items() if values]
    if medians:
        console.print(f"A decision takes, in the median: {', '.join(medians)}.")
    ratio = figures["student_over_teacher"]
    if ratio is not None:
        verdict = "[green]reaches[/]" if ratio >= gate else "[yellow]does not reach[/]"
        console.print(f"The student {verdict} the gate: {ratio:.2f} of its teacher's success, {gate:.2f} wanted.")
    console.print(f"All of it took {seconds / 60:.1f} minutes.\n")
    console.print(f"  report   {iteration.evaluation / 'report.html'}", soft_wrap=True)
    videos = iteration.evaluation / "videos"
    if videos.is_dir():
        console.print(f"  videos   {videos}", soft_wrap=True)
    console.print(f"  figures  {iteration.evaluation / 'summary.json'}", soft_wrap=True)
    console.print("  runs, plots and lineage: `make up`, then the pages it names", soft_wrap=True)


def _cells(teacher: GroupScores, student: GroupScores) -> tuple[str, str, str]:
    return str(student.episodes), _success(teacher), _success(student)


def _success(scores: GroupScores) -> str:
    """Where all episodes end alike, resampling them says nothing; Wilson's interval keeps its width."""
    value = scores.success
    low, high = (value.low, value.high) if value.low < value.high else scores.success_wilson
    return f"{value.mean:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def _ratio(value: Ratio | None) -> str:
    if value is None or value.value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.2f}"
    return f"{value.value:.2f} ({value.low:.2f}–{value.high:.2f})"
