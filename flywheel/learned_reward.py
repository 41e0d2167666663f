"""A learned reward, as people name it on the command line."""

from __future__ import annotations

from pathlib import Path

from hitl_ops.contracts.errors import UserError

REMEDY = "train one with `flywheel train-reward`"


def reward_folder(named: Path, remedy: str = REMEDY) -> Path:
    """The folder that holds a reward's weights, whether it or the training's folder was named.

    Args:
        named: the folder.
        remedy: what helps where it is not there.

    Raises:
        UserError: there is no such folder.
    """
    from hitl_ops.training.reward_folders import MODEL_FOLDER

    if not named.is_dir():
        raise UserError(f"there is no learned reward in '{named}'", remedy)
    return named / MODEL_FOLDER if (named / MODEL_FOLDER).is_dir() else named
