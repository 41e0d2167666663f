"""Where habitat-sim is on this machine; its tests are skipped with the reason where it is not."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE, HabitatConfig, SceneConfig
from hitl_ops.worlds.habitat.kinematic_backend import KINEMATIC_BACKEND

DEMANDED = "FLYWHEEL_DEMAND_HABITAT"
"""Environment variable that turns every such skip into a failure; `make test-habitat` sets it."""

BEHIND_THE_SOCKET = SceneConfig(kind="habitat", habitat=HabitatConfig(backend=KINEMATIC_BACKEND))
"""The kinematic scene in a worker's process."""


@functools.cache
def _missing() -> str:
    named = os.environ.get(PYTHON_VARIABLE, "")
    if not named:
        return f"{PYTHON_VARIABLE} names no interpreter with habitat-sim"
    if shutil.which(named) is None:
        return f"{PYTHON_VARIABLE}: '{named}' does not exist"
    tried = subprocess.run([named, "-c", "import habitat_sim, msgpack"], capture_output=True, text=True, check=False)
    return f"{named}: {tried.stderr.strip().splitlines()[-1]}" if tried.returncode else ""


def habitat_scenes() -> SceneConfig:
    """habitat-sim as this machine has it; skips the test where it has none."""
    reason = _missing()
    if reason and os.environ.get(DEMANDED):
        pytest.fail(f"habitat-sim is demanded, but {reason}")
    if reason:
        pytest.skip(reason)
    return SceneConfig(kind="habitat")


def scenes_of(name: str) -> SceneConfig:
    """kinematic, socket or habitat."""
    if name == "habitat":
        return habitat_scenes()
    return BEHIND_THE_SOCKET if name == "socket" else SceneConfig()
