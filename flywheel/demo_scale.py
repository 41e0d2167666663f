"""What a program's demo is made with, noted in its store: figures of one scale are never told as another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    from hitl_assets.dagger_presets import DaggerPreset
    from hitl_assets.preference_presets import PreferencePreset
    from hitl_assets.station_presets import StationPreset
    from hitl_ops.contracts.store import Store

_NOTE = "demo_preset.json"
_SHOWN = 3


def note_scale(store: Store, program: str, decisive: dict[str, Any]) -> None:
    """Note what iteration 000 and all that follows is made with.

    Args:
        store: holds them.
        program: whose.
        decisive: everything that can change a figure, as plain flat data.

    Raises:
        UserError: the disk is full.
    """
    from hitl_ops.contracts.publish import publish_json

    publish_json(_file(store, program), decisive)


def refuse_another_scale(store: Store, program: str, decisive: dict[str, Any]) -> None:
    """Make sure that a program's iterations were made with the same.

    Args:
        store: holds them.
        program: whose.
        decisive: everything that can change a figure, as plain flat data.

    Raises:
        UserError: they were made with another, or nothing says with which.
    """
    file = _file(store, program)
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if not isinstance(noted, dict):
        raise UserError(
            f"iteration 000 in '{store.root}' is through, and no '{file.name}' says what it was made with",
            "name another --root",
        )
    differing = [key for key in {**noted, **decisive} if noted.get(key) != decisive.get(key)]
    if differing:
        told = [f"{key} was {_said(noted, key)}, not {_said(decisive, key)}" for key in differing[:_SHOWN]]
        more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise UserError(f"'{store.root}' holds another demo: {'; '.join(told)}{more}", "name another --root")


def _file(store: Store, program: str) -> Path:
    return store.demo_figures(program).with_name(_NOTE)


def decisive_of_preference(chosen: PreferencePreset) -> dict[str, Any]:
    """What can change a figure of the preference program's demo, as plain flat data."""
    from hitl_ops.training.train_config import flat

    return flat(chosen.model_dump(mode="json", exclude={"checks": True, "loop": {"iterations"}}))


def decisive_of_dagger(chosen: DaggerPreset) -> dict[str, Any]:
    """What can change a figure of the dagger program's demo, as plain flat data."""
    from hitl_ops.training.train_config import flat

    return flat(chosen.model_dump(mode="json", exclude={"checks": True, "loop": True}))


def decisive_of_station(chosen: StationPreset) -> dict[str, Any]:
    """What can change a figure of the station program's demo, as plain flat data."""
    from hitl_ops.training.train_config import flat

    data = chosen.model_dump(mode="json", exclude={"loop": True, "checks": True})
    for section in ("demonstrations", "evaluation"):
        del data[section]["processes"]
    data["training"] = chosen.training.decisive()
    data["refinement"]["training"] = chosen.refinement.training.decisive()
    return flat(data)


def _said(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "named"
