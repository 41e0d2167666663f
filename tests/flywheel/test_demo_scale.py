"""A store's figures belong to one scale: a demo of another world or value is refused, and told what differs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from flywheel import demo_station, station_run
from flywheel.demo_scale import decisive_of_preference, decisive_of_station, note_scale, refuse_another_scale
from hitl_assets.preference_presets import chosen_preference_preset
from hitl_assets.station_iterations import STATION_LOOP
from hitl_assets.station_presets import chosen_station_preset
from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.store import Store


def _station(*overrides: str, world: str = "") -> dict[str, Any]:
    return decisive_of_station(chosen_station_preset("tiny_ci", overrides, world))


@pytest.mark.parametrize(
    ("overrides", "world", "what"),
    [
        ([], "aloha", 'demonstrations.world was "bimanual", not "aloha"'),
        (["evaluation.episodes=3"], "", "evaluation.episodes was 2, not 3"),
        (["training.model.options.dim_model=32"], "", "model.options.dim_model was 16, not 32"),
        (["refinement.training.learning_rate=0.5"], "", "refinement.training.learning_rate was 0.001, not 0.5"),
    ],
)
def test_another_scale_is_refused(tmp_path: Path, overrides: list[str], world: str, what: str) -> None:
    store = Store.at(tmp_path)
    note_scale(store, "station", _station())
    with pytest.raises(UserError) as caught:
        refuse_another_scale(store, "station", _station(*overrides, world=world))
    assert what in str(caught.value) and caught.value.remedy == "name another --root"


def test_what_changes_no_figure_may_be_named_otherwise(tmp_path: Path) -> None:
    store = Store.at(tmp_path)
    with pytest.raises(UserError, match="says what it was made with"):
        refuse_another_scale(store, "station", _station())
    note_scale(store, "station", _station())
    same = ["evaluation.processes=2", "demonstrations.processes=2", "loop.iterations=9", "training.workers=1"]
    refuse_another_scale(store, "station", _station(*same, "checks.least_episodes=1", world="bimanual"))


def test_the_preference_program_notes_its_own(tmp_path: Path) -> None:
    def scale(*overrides: str) -> dict[str, Any]:
        return decisive_of_preference(chosen_preference_preset("tiny_ci", overrides))

    store = Store.at(tmp_path)
    note_scale(store, "preference", scale())
    refuse_another_scale(store, "preference", scale("loop.iterations=7", "checks.least_episodes=1"))
    with pytest.raises(UserError, match=r"annotator\.errors was 0\.1, not 0\.2"):
        refuse_another_scale(store, "preference", scale("annotator.errors=0.2"))


def test_a_demo_that_is_through_is_not_told_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run_base(*_: object) -> int:
        ran.append("base")
        return 0

    monkeypatch.setattr(station_run, "run_base", run_base)
    monkeypatch.setattr("hitl_ops.evaluation.gate.read_gate", lambda folder: "decided")
    decided: list[str] = []
    monkeypatch.setattr(type(STATION_LOOP), "decided", lambda loop, instance: decided)
    store, console = Store.at(tmp_path), Console(file=io.StringIO())

    def turn(world: str) -> int:
        chosen = chosen_station_preset("tiny_ci", [], world)
        with dg.DagsterInstance.ephemeral() as instance:
            turns = station_run.StationTurns(store, instance, "tiny_ci", world, [], chosen, console)
            return demo_station._all_of_it(turns, 0)

    assert turn("") == 0 and ran == ["base"]
    decided.append("000")
    with pytest.raises(UserError, match="name another --root"):
        turn("aloha")
    assert turn("bimanual") == 0 and ran == ["base"]
