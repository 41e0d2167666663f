"""Presets: typed, strict, and the same for the command line and the graph."""

from __future__ import annotations

import dagster as dg
import pytest

from hitl_assets.preset_choice import PresetChoice
from hitl_assets.presets import PRESETS, PlannerPreset, chosen_preset
from hitl_ops.contracts.errors import UserError


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_being_written_down(name: str) -> None:
    preset = chosen_preset(name, [])
    assert PlannerPreset.model_validate_json(preset.model_dump_json()) == preset


def test_overrides_reach_what_they_name_and_nothing_else() -> None:
    preset = chosen_preset("laptop", ["training.config.epochs=7", "checks.gate_severity=ERROR"])
    assert preset.training.config.epochs == 7
    assert preset.checks.gate_severity == "ERROR"
    changed = preset.model_dump()
    changed["training"]["config"]["epochs"] = PRESETS["laptop"].training.config.epochs
    changed["checks"]["gate_severity"] = "WARN"
    assert changed == PRESETS["laptop"].model_dump()


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("labtop", [], "preset 'labtop' is unknown"),
        ("laptop", ["training.config.epoch=3"], "did you mean 'epochs'?"),
        ("laptop", ["lessons.epochs=3"], "unknown config key 'lessons'"),
        ("laptop", ["checks.gate_severity=LOUD"], "checks.gate_severity"),
        ("laptop", ["episodes.train"], "key=value"),
    ],
)
def test_mistakes_are_named(name: str, overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_preset(name, overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_in_a_run_a_mistake_fails_without_retry() -> None:
    with pytest.raises(dg.Failure) as caught:
        PresetChoice(name="laptop", overrides=["training.config.epoch=3"]).resolve()
    assert "did you mean 'epochs'?" in (caught.value.description or "")
    assert not caught.value.allow_retries
