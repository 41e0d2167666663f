"""Finding a program's scale by its name, as a run's configuration or a command line gives it."""

from __future__ import annotations

from collections.abc import Mapping

from hitl_ops.contracts.config import StrictConfig
from hitl_ops.contracts.errors import UserError


def named_preset[NameT: str, PresetT: StrictConfig](presets: Mapping[NameT, PresetT], name: str) -> PresetT:
    """The preset of that name.

    Raises:
        UserError: there is none.
    """
    for known, preset in presets.items():
        if known == name:
            return preset
    raise UserError(f"preset '{name}' is unknown", f"choose one of {', '.join(presets)}")
