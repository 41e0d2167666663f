"""The report page: one HTML file with everything in it but the videos, which lie beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hitl_ops.contracts.publish import publish_text, publishing
from hitl_ops.evaluation import plots
from hitl_ops.evaluation.evaluate import Scores, read_evaluation
from hitl_ops.evaluation.intervals import Interval, PairedDifference
from hitl_ops.evaluation.metrics import EpisodeScore
from hitl_ops.evaluation.summary import Comparison, EvaluationSummary

REPORT_FILE = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
VIDEO_NAMES = ("best", "median", "worst")


def write_report(folder: Path, title: str = "Planner evaluation", *, note: str = "") -> Path:
    """Write ``report.html`` and ``plots/*.png`` from the summary and scores in ``folder``.

    Videos are shown where ``videos/best.mp4``, ``median.mp4`` and ``worst.mp4`` exist; an episode's row links to
    ``videos/<episode_id>.mp4`` where that exists.

    Args:
        folder: where :func:`~hitl_ops.evaluation.evaluate.summarise` wrote.
        title: the page's heading.
        note: what must be said beside the figures.

    Returns:
        The page.

    Raises:
        UserError: there is no evaluation in the folder, it is corrupt, or the disk is full.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    summary, scores = read_evaluation(folder)
    pictures = draw_plots(summary, scores)
    with publishing(folder / "plots") as temporary:
        temporary.mkdir()
        for name, content in pictures.items():
            (temporary / f"{name}.png").write_bytes(content)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "percent_interval": _percent_interval,
        "number": _number,
        "number_interval": _number_interval,
        "milliseconds": _milliseconds,
        "p_value": _p_value,
        "words": lambda text: str(text).replace("_", " "),
    }
    page = environment.get_template("report.html.j2").render(_content(folder, title, summary, scores, pictures, note))
    target = folder / REPORT_FILE
    publish_text(target, page)
    return target


def draw_plots(summary: EvaluationSummary, scores: Scores) -> dict[str, bytes]:
    """The report's pictures by name, as PNG."""
    split = summary.primary_split
    primary = {name: [s for s in rows.values() if s.split == split] for name, rows in scores.items()}
    types = {name: summary.primary(name).by_task_type for name in summary.policies}
    steps = {name: [float(s.sim_steps) for s in rows if s.sim_steps is not None] for name, rows in primary.items()}
    latency = {name: [value for s in rows for value in s.latency_ms] for name, rows in primary.items()}
    return {
        "success_by_task_type": plots.success_by_group(types, f"Success by task type ({split})"),
        "success_by_split": plots.success_by_group(summary.policies, "Success by split"),
        "percent_complete": plots.percent_complete(primary, f"How far the episodes got ({split})"),
        "sim_steps": plots.distribution(steps, f"Simulation steps per episode ({split})", "steps"),
        "latency": plots.distribution(latency, f"Latency per decision ({split})", "milliseconds", logarithmic=True),
    }


def _content(
    folder: Path, title: str, summary: EvaluationSummary, scores: Scores, pictures: Mapping[str, bytes], note: str
) -> dict[str, Any]:
    policies = list(summary.policies)
    watched = next((name for name in policies if name != summary.reference and name in summary.videos), None)
    watched = watched or next(iter(summary.videos), None)
    videos = []
    if watched is not None:
        for name in VIDEO_NAMES:
            score = scores[watched][getattr(summary.videos[watched], name)]
            videos.append({"name": name, "score": score, "file": _video(folder, name)})
    comparisons = [c for by_split in summary.comparisons.values() for c in by_split.values()]
    return {
        "title": title,
        "summary": summary,
        "policies": policies,
        "colours": plots.colours(policies),
        "pictures": {
            name: "data:image/png;base64," + base64.b64encode(content).decode("ascii")
            for name, content in pictures.items()
        },
        "comparisons": comparisons,
        "verdict": lambda comparison: _verdict(comparison, summary.config.level),
        "splits_in_order": sorted(
            {split for splits in summary.policies.values() for split in splits},
            key=lambda split: (split != summary.primary_split, split),
        ),
        "task_types": sorted({kind for name in policies for kind in summary.primary(name).by_task_type}),
        "watched": watched,
        "videos": videos,
        "episodes": _episodes(folder, summary, scores),
        "notes": [*([note] if note else []), *_notes(summary)],
    }


def _video(folder: Path, name: str) -> str | None:
    file = Path("videos") / f"{name}.mp4"
    return file.as_posix() if (folder / file).is_file() else None


def _episodes(folder: Path, summary: EvaluationSummary, scores: Scores) -> list[dict[str, Any]]:
    """A row per episode, the primary split first; within a split by episode id."""
    rows: dict[str, dict[str, EpisodeScore]] = {}
    for name, own in scores.items():
        for score in own.values():
            rows.setdefault(score.episode_id, {})[name] = score
    picks = {
        getattr(picked, name): name
        for picked in summary.videos.values()
        for name in VIDEO_NAMES
        if _video(folder, name)
    }
    ordered = sorted(
        rows.items(),
        key=lambda item: (
            (split := next(iter(item[1].values())).split) != summary.primary_split,
            split,
            item[0],
        ),
    )
    return [
        {
            "id": episode_id,
            "any": next(iter(by_policy.values())),
            "scores": by_policy,
            "video": _video(folder, episode_id) or (_video(folder, picks[episode_id]) if episode_id in picks else None),
        }
        for episode_id, by_policy in ordered
    ]


def _verdict(comparison: Comparison, level: float) -> str:
    """The comparison in one sentence."""
    difference = comparison.success
    if difference.low > 0:
        found = "succeeds more often than"
    elif difference.high < 0:
        found = "succeeds less often than"
    else:
        found = "cannot be told apart in success from"
    return f"{comparison.policy} {found} {comparison.reference} at the {level:.0%} level"


def _notes(summary: EvaluationSummary) -> list[str]:
    notes = []
    for name, splits in summary.policies.items():
        for split, scores in splits.items():
            if scores.success.low == scores.success.high:
                low, high = scores.success_wilson
                notes.append(
                    f"{name}, {split}: all {scores.episodes} episodes ended alike, so the bootstrap interval has no "
                    f"width; Wilson's interval is {low:.1%} to {high:.1%}."
                )
            for reason, what in (("error", "ended by an error"), ("missing", "without a trace")):
                if count := scores.ended_by.get(reason, 0):
                    notes.append(
                        f"{name}, {split}: {count} {'episode' if count == 1 else 'episodes'} {what} "
                        f"{'counts' if count == 1 else 'count'} as failed."
                    )
    return notes


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _percent_interval(interval: Interval | PairedDifference) -> str:
    return f"{interval.low:.1%} … {interval.high:.1%}"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    size = abs(value)
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def _number_interval(interval: Interval | PairedDifference) -> str:
    return f"{_number(interval.low)} … {_number(interval.high)}"


def _milliseconds(value: float) -> str:
    return (
        f"{value / 1000:,.2f} s" if value >= 1000 else f"{value:,.1f} ms" if value >= 1 else f"{value * 1000:,.0f} µs"
    )


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
