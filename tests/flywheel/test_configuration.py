"""Preset, file, single values: which wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from flywheel.configuration import resolve_config
from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError


class Inner(StrictConfig):
    width: int = 1
    depth: int = 1


class Outer(StrictConfig):
    rate: float = 0.1
    inner: Inner = Inner()


PRESETS = {"laptop": Outer(), "paper": Outer(rate=0.5, inner=Inner(width=8, depth=8))}


def resolve(preset: str = "laptop", file: Path | None = None, *overrides: str) -> Outer:
    return resolve_config(Outer, PRESETS, preset=preset, file=file, overrides=list(overrides))


def test_a_preset_alone() -> None:
    assert resolve("paper") == PRESETS["paper"]


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("inner: {width: 3}")
    assert resolve("paper", file) == Outer(rate=0.5, inner=Inner(width=3, depth=8))


def test_a_file_may_name_a_default_on_purpose(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("rate: 0.1")
    assert resolve("paper", file).rate == 0.1


def test_single_values_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("inner: {width: 3}")
    assert resolve("paper", file, "inner.width=4", "rate=0.25") == Outer(rate=0.25, inner=Inner(width=4, depth=8))


def test_options_lie_between_file_and_single_values(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("{rate: 0.2, inner: {width: 3}}")
    options = {"rate": 0.3, "inner.width": 5, "inner.depth": None}
    config = resolve_config(Outer, PRESETS, preset="paper", file=file, overrides=["inner.width=6"], options=options)
    assert config == Outer(rate=0.3, inner=Inner(width=6, depth=8))


def test_an_open_mapping_takes_dotted_keys() -> None:
    class Open(StrictConfig):
        endpoint: dict[str, object] = Field(default_factory=dict)

    overrides = ["endpoint.client.model=gpt", "endpoint.client.seed=1"]
    config = resolve_config(Open, {"laptop": Open()}, preset="laptop", file=None, overrides=overrides)
    assert config.endpoint == {"client": {"model": "gpt", "seed": 1}}


def test_an_unknown_section_is_named_with_its_neighbour() -> None:
    with pytest.raises(UserError) as error:
        resolve("laptop", None, "innner.width=2")
    assert "did you mean 'inner'" in str(error.value)


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UserError) as error:
        resolve("labtop")
    assert "laptop, paper" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("innner: {}", "did you mean 'inner'"),
        ("inner: {widht: 2}", "did you mean 'width'"),
        ("rate: fast", "rate"),
        ("- 1", "mapping"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, names: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        resolve("laptop", file)
    assert "mine.yaml" in str(error.value) and names in str(error.value)


@pytest.mark.parametrize("override", ["rate", "rat=1", "inner.widht=2", "rate.x=2", "rate=fast"])
def test_a_bad_value_is_named(override: str) -> None:
    with pytest.raises(UserError):
        resolve("laptop", None, override)
