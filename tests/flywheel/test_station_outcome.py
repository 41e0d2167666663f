"""What the station's demo tells: each control beside the last epoch, in the table, the last line and the plot."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from flywheel.station_outcome import ControlOutcome, EpochOutcome, StationOutcome, draw_epochs, print_outcome
from hitl_ops.contracts.store import Store
from hitl_ops.evaluation.intervals import bootstrap_interval, paired_difference, wilson_interval

BASE, STUDENT = [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]


def _scored(values: list[float]) -> dict[str, Any]:
    return {"success": bootstrap_interval(values), "wilson": wilson_interval(int(sum(values)), len(values))}


def _epoch(number: int, values: list[float]) -> EpochOutcome:
    return EpochOutcome(
        iteration=number,
        policy_id=f"station-{number}",
        **_scored(values),
        gain=paired_difference(values, BASE) if number else None,
        promoted=True,
        verdict="",
        good=2 * number,
        bad=number,
        aborted=0,
        collected_success=None,
        human_minutes=0.0,
        dataset_episodes=60 + 40 * number,
        dataset_frames=1000,
    )


def _control(name: str, values: list[float], episodes: int) -> ControlOutcome:
    return ControlOutcome(
        name=name,
        iteration=1,
        **_scored(values),
        gain=paired_difference(values, BASE),
        student_minus_control=paired_difference(STUDENT, values),
        steps=850,
        differs="the chain",
        dataset_episodes=episodes,
    )


def test_every_control_is_told_of(tmp_path: Path) -> None:
    outcome = StationOutcome(
        world="bimanual",
        task="Lift",
        epochs=[_epoch(0, BASE), _epoch(1, STUDENT)],
        controls=[_control("told nothing", [1.0, 1.0, 0.0, 0.0], 100), _control("demonstrations only", BASE, 60)],
        unseen=True,
    )
    said = io.StringIO()
    print_outcome(Console(file=said, width=200), outcome, Store.at(tmp_path), 60)
    rows = {line.split("  ")[0].strip(): line.split() for line in said.getvalue().splitlines()}
    assert "+25" in rows["control: told nothing"] and "100" in rows["control: told nothing"]
    assert "+0" in rows["control: demonstrations only"] and "60" in rows["control: demonstrations only"]
    told = next(line for line in said.getvalue().splitlines() if "points over the base policy" in line)
    assert told.startswith("+50 points over the base policy; with as many steps, +25 (")
    assert ") over told nothing; +50 (" in told and told.endswith(") over demonstrations only.")
    assert "(bimanual): success in 4 scenes nobody trained in" in said.getvalue()
    own = outcome.model_copy(update={"unseen": False})
    print_outcome(Console(file=(said := io.StringIO()), width=200), own, Store.at(tmp_path), 60)
    assert "success in 4 scenes" in said.getvalue() and "nobody trained" not in said.getvalue()
    draw_epochs(outcome, tmp_path / "epochs.png")
    alone = outcome.model_copy(update={"controls": []})
    draw_epochs(alone, tmp_path / "alone.png")
    assert (tmp_path / "epochs.png").stat().st_size > (tmp_path / "alone.png").stat().st_size
