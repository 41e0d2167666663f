"""The benchmark of comparisons, in seconds: that both sides run, are counted alike, and that a whole run is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import preference_comparisons
from benchmarks.preferences import environment, ours_side
from benchmarks.preferences.journal import finished
from flywheel.bench import COLUMNS
from hitl_assets.preference_presets import chosen_preference_preset
from hitl_ops.contracts.errors import UserError


def built() -> bool:
    try:
        environment.python()
    except UserError:
        return False
    return True


def lines(*points: tuple[int, float]) -> list[dict[str, float]]:
    return [{"comparisons": comparisons, "success": success} for comparisons, success in points]


def test_what_was_needed_is_where_success_was_first_enough() -> None:
    assert preference_comparisons.needed(lines((20, 0.5), (40, 0.8), (60, 0.7), (80, 0.9)), 0.8) == 40
    assert math.isinf(preference_comparisons.needed(lines((20, 0.5), (40, 0.79)), 0.8))


@pytest.mark.parametrize(
    ("theirs", "reference", "holds"),
    [(lines((50, 0.1), (100, 0.85)), 100.0, True), (lines((60, 0.9), (100, 0.9)), 60.0, False)],
)
def test_the_better_choice_of_imitation_counts(theirs: list[dict[str, float]], reference: float, holds: bool) -> None:
    settings = preference_comparisons.Settings(seeds=(0,), inputs=("own",), epochs=(3,))
    worse = lines((50, 0.1), (100, 0.2))
    runs = {"ours": [lines((40, 0.9))], "imitation-own-random-3": [theirs], "imitation-own-active-3": [worse]}
    row = preference_comparisons._rows(settings, 100, 100, runs)[0]
    assert (row["ours"], row["reference"], row["holds"]) == (40, reference, holds)
    assert "random fragments, 3 epochs" in row["reference_name"]


def test_a_side_that_never_came_there_is_said_to_need_more_than_there_were() -> None:
    settings = preference_comparisons.Settings(seeds=(0,), inputs=("own",), selections=("random",), epochs=(3,))
    never = lines((50, 0.1), (100, 0.2))
    first, *_, last = preference_comparisons._rows(
        settings, 100, 100, {"ours": [lines((60, 0.9))], "imitation-own-random-3": [never]}
    )
    assert first["reference"] == 100 and "not reached within 100" in first["reference_name"]
    assert (first["ratio"], first["holds"]) == (0.6, False)
    assert last["ours"] is None and "not reached within 100" in last["metric"]
    ours_never = preference_comparisons._rows(settings, 100, 100, {"ours": [never], "imitation-own-random-3": [never]})[
        0
    ]
    assert (ours_never["ours"], ours_never["ratio"], ours_never["holds"]) == (None, None, False)


def test_what_imitation_may_ask_more_is_told_apart() -> None:
    settings = preference_comparisons.Settings(
        seeds=(0,), inputs=("own",), selections=("random",), epochs=(3,), comparisons=2
    )
    never = lines((100, 0.1), (200, 0.2))
    first, second, *_, last = preference_comparisons._rows(
        settings, 100, 200, {"ours": [lines((100, 0.9))], "imitation-own-random-3": [never]}
    )
    assert (first["reference"], first["ratio"], first["holds"]) == (200, 0.5, True)
    assert "within 200" in first["reference_name"] and "within 200" in last["metric"]
    assert second["reference_name"].endswith("after 200") and "after 100" in second["metric"]


@pytest.mark.slow
def test_our_side_counts_what_it_was_told_it_may_take(tmp_path: Path) -> None:
    loop = ours_side.seeded(chosen_preference_preset("tiny_ci", []), 3)
    ours_side.run(loop, tmp_path / "ours.jsonl")
    found = finished(tmp_path / "ours.jsonl", loop)
    assert found is not None and [line["comparisons"] for line in found] == [6, 10]
    assert found[-1]["steps"] == ours_side.steps_of(loop)
    assert found[-1]["comparisons"] == ours_side.comparisons_of(loop)
    assert finished(tmp_path / "ours.jsonl", ours_side.seeded(loop, 4)) is None


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.skipif(not built(), reason="the environment of imitation's side is not built")
def test_both_sides_run_once_and_are_kept(tmp_path: Path) -> None:
    settings = preference_comparisons.Settings(
        preset="tiny_ci",
        seeds=(0,),
        inputs=("ours",),
        selections=("active",),
        epochs=(1,),
        first_epochs=2,
        out=tmp_path,
    )
    rows = preference_comparisons.bench(settings)
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert (tmp_path / "success.png").stat().st_size > 0
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")}
    assert sorted(files) == ["imitation-ours-active-1-0.jsonl", "ours-0.jsonl"]
    sides = [[json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in sorted(files)]
    ends = [side[-1]["comparisons"] for side in sides]
    assert ends == [10, 10]
    assert preference_comparisons.bench(settings) == rows
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.jsonl")} == files


@pytest.mark.skipif(built(), reason="the environment of imitation's side is built")
def test_it_says_what_is_missing() -> None:
    with pytest.raises(UserError, match="not built"):
        preference_comparisons.bench()
