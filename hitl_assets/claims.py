"""A folder goes on being filled only as long as it is made from the same things.

Rollouts and trainings resume what they find. To materialise an asset means to make it anew where its inputs or its
configuration have changed, so each of those folders carries a note of what it is made from.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hitl_ops.contracts.errors import UserError
from hitl_ops.contracts.publish import TEMPORARY_MARK, disk_errors_named, publish_json

NOTE = "made_from.json"


def claim(folder: Path, made_from: Mapping[str, Any]) -> bool:
    """Empty ``folder`` if it was made from something else, and note what it is made from now.

    Args:
        folder: a folder that one asset alone writes to.
        made_from: everything that determines its content, as plain data.

    Returns:
        Whether there was something to go on with.

    Raises:
        UserError: the folder cannot be written, or holds what no asset has put there.
    """
    wanted = json.loads(json.dumps(made_from))
    with disk_errors_named(folder):
        if folder.is_dir():
            noted = made_from_of(folder)
            if noted == wanted:
                return True
            if noted is None and any(TEMPORARY_MARK not in held.name for held in folder.iterdir()):
                raise UserError(
                    f"'{folder}' holds files that the asset did not put there", "move them away and run again"
                )
            # Renamed first: half of it, after a kill, must not pass for somebody else's.
            doomed = folder.with_name(f"{folder.name}{TEMPORARY_MARK}{secrets.token_hex(4)}")
            folder.rename(doomed)
            shutil.rmtree(doomed)
        publish_json(folder / NOTE, wanted)
    return False


def made_from_of(folder: Path) -> Any:
    """What a folder's note says it is made from; None where there is no note that can be read."""
    try:
        return json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
