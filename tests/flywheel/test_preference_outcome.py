"""The preference demo's last word fits a terminal, and tells of targets nobody has looked at."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from flywheel.preference_outcome import PreferenceOutcome, TurnOutcome, print_outcome
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.intervals import Interval


def _interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high, n=200, clusters=200)


def test_the_table_fits_80_columns_and_the_end_is_told_on_other_targets(tmp_path: Path) -> None:
    turn = TurnOutcome(
        iteration=10,
        policy_id="0" * 12,
        comparisons=10_000,
        human_seconds=900.0,
        held_out_accuracy=1.0,
        held_out=1234,
        true_accuracy=None,
        success=_interval(1.0, 0.981, 1.0),
        held=1.0,
        control=_interval(1.0, 0.98, 1.0),
        control_held=1.0,
        steps=32,
        policy_steps=32,
        control_steps=64,
        promoted=False,
        verdict="",
    )
    outcome = PreferenceOutcome(
        turns=[turn],
        serving="0" * 12,
        serving_success=_interval(0.9, 0.8, 1.0),
        final_success=_interval(0.8, 0.75, 0.86),
        final_control=_interval(0.9, 0.85, 0.94),
    )
    told = io.StringIO()
    print_outcome(Console(file=told, width=80), outcome, Store.at(tmp_path), 60.0)
    lines = told.getvalue().splitlines()
    (row,) = [line for line in lines if line.startswith(" 010") or line.startswith("010")]
    assert row.split() == ["010", "10000", "100", "(1234)", "100", "(98–100)", "100", "100", "(98–100)", "refused"]
    assert "comparisons" in told.getvalue() and "…" not in row
    assert "on 200 targets nobody has looked at: 80.0 % (75–86), control 90.0 % (85–94)" in lines
