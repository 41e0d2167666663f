"""``flywheel annotate --scripted``, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.cli import run
from hitl_ops.contracts.store import Store
from hitl_ops.rollouts.episode_sets import generate_episode
from hitl_ops.samples.annotation_queue import read_annotation_queue
from tests.support.collected_plays import Collected
from tests.support.partnered_plays import Random, beside


def _figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["annotate", "--scripted", "--json", *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert isinstance(figures, dict)
    return figures


def test_goes_through_an_iteration_once(own_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collected = Collected(Store.at(own_store), iteration=2)
    for index in (0, 1, 2):
        collected.play(generate_episode("train", index), through=beside(Random(index), most_ticks=600))
    # The iteration goes without saying: it is the newest that has plays.
    first = _figures(capsys, "--limit", "1")
    queue = read_annotation_queue(collected.sessions)
    (label,) = collected.labels.labels("verdict")
    assert (first["plays"], label.iteration, label.episode_play_id) == (1, 2, queue[0].play_id)
    rest = _figures(capsys, "--iteration", "2")
    assert (rest["plays"], rest["plays_before"]) == (2, 1)
    before = collected.labels.labels(superseded=True)
    assert _figures(capsys)["plays"] == 0 and collected.labels.labels(superseded=True) == before
    poisoned = _figures(capsys, "--accuracy", "0", "--annotator", "poisoned", "--set", "max_corrections_per_play=1")
    assert poisoned["corrections"] == poisoned["made_up"] == poisoned["plays"] == 3
    assert run(["annotate", "--scripted"]) == 0
    assert "modelled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scripted"], "has no finished play"),
        (["--scripted", "--port", "8080"], "serves no page"),
        (["--accuracy", "0.5"], "add --scripted"),
        (["--scripted", "--set", "acuracy=0.5"], "did you mean 'accuracy'"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["annotate", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
