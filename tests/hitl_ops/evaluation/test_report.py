"""The report page: self-contained, repeatable, and it says what the summary says."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hitl_ops.contracts.errors import UserError
from hitl_ops.evaluation.evaluate import summarise
from hitl_ops.evaluation.report import write_report
from hitl_ops.evaluation.summary import EvaluationConfig

Play = Callable[..., Path]


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [values["src"] or ""] if "src" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def evaluation(tmp_path: Path, play: Play) -> Path:
    for number in range(6):
        play(tmp_path / "teacher", f"v{number}", latencies=(2000.0,), scene_id=f"h{number % 2}")
        play(
            tmp_path / "student",
            f"v{number}",
            percent=1.0 if number else 0.5,
            ended_by="done" if number else "error",
            explanation="" if number else "mug_1 <is> not clean",
            scene_id=f"h{number % 2}",
        )
    play(tmp_path / "student", "t0", split="test", scene_id="h9", instruction="Put <b>&amp; it away.")
    folders = {"teacher": tmp_path / "teacher", "student": tmp_path / "student"}
    summarise(folders, tmp_path / "evaluation", EvaluationConfig(resamples=200))
    return tmp_path / "evaluation"


@pytest.mark.slow
def test_the_page_says_what_was_found(evaluation: Path) -> None:
    page = _Page(write_report(evaluation, title="Planner, iteration 000").read_text(encoding="utf-8"))
    assert page.open == []
    assert "Planner, iteration 000" in page.text
    assert "6 episodes of the split “val” in 2 homes" in page.text
    assert "student: success 83.3%" in page.text
    assert "student over teacher 0.83" in page.text
    assert "teacher: one decision 2.00 s" in page.text
    assert "student, val: 1 episode ended by an error counts as failed." in page.text
    assert "teacher, val: all 6 episodes ended alike" in page.text
    assert "All 7 episodes" in page.text
    # What traces say is text, never markup.
    assert "mug_1 <is> not clean" in page.text
    assert "Put <b>&amp; it away." in page.text


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(evaluation: Path) -> None:
    text = write_report(evaluation).read_text(encoding="utf-8")
    page = _Page(text)
    assert len(page.sources) == 5 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert page.links == []
    assert not re.search(r"https?://", text)
    assert page.text.count("no video was made") == 3


@pytest.mark.slow
def test_videos_are_shown_where_they_are(evaluation: Path) -> None:
    (evaluation / "videos").mkdir()
    for name in ("best", "worst", "v3"):
        (evaluation / "videos" / f"{name}.mp4").write_bytes(b"")
    page = _Page(write_report(evaluation).read_text(encoding="utf-8"))
    videos = [source for source in page.sources if source.endswith(".mp4")]
    assert videos == ["videos/best.mp4", "videos/worst.mp4"]
    assert page.text.count("no video was made") == 1
    # The worst episode of the student is the one that ended in an error.
    assert set(page.links) == {"videos/best.mp4", "videos/worst.mp4", "videos/v3.mp4"}


@pytest.mark.slow
def test_page_and_plots_are_repeatable(evaluation: Path) -> None:
    first = write_report(evaluation).read_bytes()
    plots = {path.name: path.read_bytes() for path in (evaluation / "plots").iterdir()}
    assert sorted(plots) == [
        "latency.png",
        "percent_complete.png",
        "sim_steps.png",
        "success_by_split.png",
        "success_by_task_type.png",
    ]
    assert write_report(evaluation).read_bytes() == first
    assert {path.name: path.read_bytes() for path in (evaluation / "plots").iterdir()} == plots


@pytest.mark.slow
def test_one_policy_without_decisions(tmp_path: Path, play: Play) -> None:
    play(tmp_path / "traces", "e0", latencies=(), steps=0)
    summarise({"student": tmp_path / "traces"}, tmp_path / "o", EvaluationConfig(resamples=100))
    page = _Page(write_report(tmp_path / "o").read_text(encoding="utf-8"))
    assert "Paired comparison" not in page.text
    assert "student: success 100.0%" in page.text


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the evaluation first"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
