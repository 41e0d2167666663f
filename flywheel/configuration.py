"""How a verb comes to its configuration: a preset, a file over it, options and single values over that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hitl_assets.presets import PlannerPreset
    from hitl_ops.contracts.config import StrictConfig

    ConfigT = TypeVar("ConfigT", bound=StrictConfig)

PresetOption = Annotated[str, typer.Option(help="Scale to start from: laptop or paper.")]
ConfigOption = Annotated[Path | None, typer.Option(help="YAML file laid over the preset; an unknown key is an error.")]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="One value laid over that, `dotted.key=value`. Repeatable."),
]


def sections(part: Callable[[PlannerPreset], ConfigT]) -> dict[str, ConfigT]:
    """One part of every preset of the planner program, by the preset's name: the asset graph starts from the same."""
    from hitl_assets.presets import PRESETS

    return {name: part(preset) for name, preset in PRESETS.items()}


def resolve_config(
    model: type[ConfigT],
    presets: Mapping[str, ConfigT],
    *,
    preset: str,
    file: Path | None,
    overrides: list[str],
    options: Mapping[str, Any] | None = None,
) -> ConfigT:
    """Build a configuration; what is named later lies over what is named earlier.

    Args:
        model: the configuration's class.
        presets: the named configurations to start from.
        preset: which of them.
        file: a YAML file; only the keys it names count.
        overrides: ``dotted.key=value``, from ``--set``.
        options: dotted key → value, from options of their own (``--base``); None stands for "not given".

    Raises:
        UserError: the preset is unknown, the file cannot be read, or a key or value is not accepted.
    """
    from hitl_ops.contracts.config import apply_overrides, load_config, parse_config
    from hitl_ops.contracts.errors import UserError

    if preset not in presets:
        raise UserError(f"preset '{preset}' is unknown", f"choose one of {', '.join(presets)}")
    config = presets[preset]
    if file is not None:
        named = load_config(model, file).model_dump(exclude_unset=True)
        config = parse_config(model, _laid_over(config.model_dump(), named), source=str(file))
    for key, value in (options or {}).items():
        if value is not None:
            *parents, leaf = key.split(".")
            nested: dict[str, Any] = {leaf: value}
            for parent in reversed(parents):
                nested = {parent: nested}
            config = parse_config(model, _laid_over(config.model_dump(), nested), source="options")
    return apply_overrides(config, overrides)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _laid_over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
