"""Success against comparisons is drawn as it is, and a pair of clips is sketched with both of them in it."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

from hitl_ops.contracts.preference import ClipFacts, ClipPair
from hitl_ops.evaluation.comparison_curve import CurvePoint, draw_success_against_comparisons
from hitl_ops.evaluation.intervals import Interval
from hitl_ops.evaluation.pair_sketch import draw_pairs
from hitl_ops.records.clips import Clip, content_hash


def _interval(mean: float) -> Interval:
    return Interval(mean=mean, low=mean - 0.1, high=mean + 0.1, n=10, clusters=10)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved."""
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *args: object, **options: object) -> None:
        figures.append(figure)
        save(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def test_policy_and_control_stand_at_their_comparisons(tmp_path: Path, drawn: list[matplotlib.figure.Figure]) -> None:
    points = [
        CurvePoint(iteration=0, comparisons=40, success=_interval(0.2), control=_interval(0.6)),
        CurvePoint(iteration=1, comparisons=60, success=_interval(0.7), control=None),
    ]
    draw_success_against_comparisons(points, "title", tmp_path / "curve.png")
    (axes,) = drawn[0].axes
    first, second = (container.lines[0].get_xydata() for container in axes.containers)  # type: ignore[attr-defined]
    assert np.allclose(first, [[40, 20], [60, 70]]) and np.allclose(second, [[40, 60]])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    draw_success_against_comparisons([points[1]], "title", tmp_path / "curve.png")
    assert len(drawn[1].axes[0].containers) == 1
    (legend,) = drawn[0].legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent()), "it covers nothing that is drawn"


def test_pairs_are_sketched_left_and_right(tmp_path: Path, drawn: list[matplotlib.figure.Figure]) -> None:
    clips = {}
    for name in ("a", "b", "c"):
        seen, done = np.zeros((6, 20), np.float32), np.zeros((6, 7), np.float32)
        seen[:, 14:17] = (0.5, 0.0, 0.4)
        facts = ClipFacts(
            clip_id=name, kind="reach", episode_id="reach/1", start=0, steps=6, fps=20, task="", policy_id="",
            content_hash=content_hash(seen, done),
        )  # fmt: skip
        clips[name] = Clip(facts, seen, done)
    pairs = [
        ClipPair(pair_id=f"q{n}", left=a, right=b, chosen_by="random")
        for n, (a, b) in enumerate([("a", "b"), ("c", "b")])
    ]
    draw_pairs(pairs, clips, 0.05, tmp_path / "pairs.png")
    assert [axes.get_title() for axes in drawn[0].axes] == ["q0: a", "q0: b", "q1: c", "q1: b"]
    ball = drawn[0].axes[0].patches[0]
    assert np.allclose(ball.get_center(), (0.5, 0.4)) and ball.get_radius() == 0.05  # type: ignore[attr-defined]
