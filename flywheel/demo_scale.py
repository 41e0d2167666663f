"""What a station's demo is made with, noted in its store: figures of one scale are never told as another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_ops.contracts.errors import UserError

if TYPE_CHECKING:
    from hitl_assets.station_presets import StationPreset
    from hitl_ops.contracts.store import Store

_NOTE = "demo_preset.json"
_SHOWN = 3


def note_scale(store: Store, chosen: StationPreset) -> None:
    """Note what iteration 000 and all that follows is made with.

    Raises:
        UserError: the disk is full.
    """
    from hitl_ops.contracts.publish import publish_json

    publish_json(_file(store), _decisive(chosen))


def refuse_another_scale(store: Store, chosen: StationPreset) -> None:
    """Make sure that the store's iterations were made with this preset.

    Args:
        store: holds them.
        chosen: preset, world and single values together.

    Raises:
        UserError: they were made with another, or nothing says with which.
    """
    file = _file(store)
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if not isinstance(noted, dict):
        raise UserError(
            f"iteration 000 in '{store.root}' is through, and no '{file.name}' says what it was made with",
            "name another --root",
        )
    wanted = _decisive(chosen)
    differing = [key for key in {**noted, **wanted} if noted.get(key) != wanted.get(key)]
    if differing:
        told = [f"{key} was {_said(noted, key)}, not {_said(wanted, key)}" for key in differing[:_SHOWN]]
        more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise UserError(f"'{store.root}' holds another demo: {'; '.join(told)}{more}", "name another --root")


def _file(store: Store) -> Path:
    return store.demo_figures("station").with_name(_NOTE)


def _decisive(chosen: StationPreset) -> dict[str, Any]:
    """What can change a figure, as plain flat data."""
    from hitl_ops.training.train_config import flat

    data = chosen.model_dump(mode="json", exclude={"loop": True, "checks": True})
    for section in ("demonstrations", "evaluation"):
        del data[section]["processes"]
    data["training"] = chosen.training.decisive()
    data["refinement"]["training"] = chosen.refinement.training.decisive()
    return flat(data)


def _said(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "named"
