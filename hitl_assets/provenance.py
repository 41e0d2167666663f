"""What an asset was made from: the version of the code that makes it and the hash of the files that came out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import hitl_ops

_ROOMS = Path(hitl_ops.__file__).parent
TRAINING_SOURCES = ("contracts", "models", "training")
"""The rooms whose code decides what a training gives."""
EXAMINATION_SOURCES = (
    "contracts",
    "worlds/bimanual",
    "worlds/aloha",
    "worlds/robot_worlds.py",
    "models/action_model.py",
    "models/lerobot_policy.py",
    "models/robot_policy.py",
    "rollouts/robot_rollouts.py",
    "evaluation",
)
"""The code that decides what a robot's policy comes to in simulation."""


@cache
def code_version(*rooms: str) -> str:
    """Hash of the sources of some rooms of ``hitl_ops``, twelve hex digits; Dagster marks what an older one made stale.

    Args:
        rooms: folders or files below ``hitl_ops``: ``"worlds/household"``, ``"training"``.

    Raises:
        FileNotFoundError: there is no such room.
    """
    digest = hashlib.sha256()
    for room in rooms:
        place = _ROOMS / room
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
        if not files:
            raise FileNotFoundError(f"hitl_ops has no room '{room}'")
        for file in files:
            digest.update(str(file.relative_to(_ROOMS)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def manifest_hash(files: Iterable[Path], *, relative_to: Path) -> str:
    """Hash over names and contents of files, whatever their order: the data version of what they hold."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(relative_to)} {content}\n".encode())
    return digest.hexdigest()


def policy_hash(policy: Path, weights: Path, *beside: Path) -> str:
    """Hash of a policy: its weights' files, without pickle, and what belongs to them.

    Args:
        policy: its folder.
        weights: the folder of its weights, in it.
        beside: further files in it, such as its card.
    """
    return manifest_hash([*weights.glob("*.safetensors"), *beside], relative_to=policy)


def folder_hash(folder: Path) -> str:
    """Hash over names and contents of the files of a folder that has no folders in it, such as a model's weights."""
    return manifest_hash(folder.iterdir(), relative_to=folder)
