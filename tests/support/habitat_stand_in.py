"""An interpreter with the double of habitat-sim in place of habitat-sim: ``tests/support/habitat_double``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from hitl_ops.worlds.habitat.config import HabitatConfig, SceneConfig

_DOUBLE = Path(__file__).resolve().parent / "habitat_double"


def double_python(folder: Path, interpreter: str = sys.executable, fails: str = "") -> str:
    """A script in ``folder`` that runs an interpreter which finds the double.

    Args:
        folder: where to.
        interpreter: with NumPy and msgpack.
        fails: how the double is to fail; see its docstring.
    """
    script = folder / f"python-with-double{'-' if fails else ''}{fails}"
    settings = f"PYTHONPATH={shlex.quote(str(_DOUBLE))} FLYWHEEL_HABITAT_DOUBLE={shlex.quote(fails)}"
    script.write_text(f'#!/bin/sh\n{settings} exec {shlex.quote(interpreter)} "$@"\n')
    script.chmod(0o755)
    return str(script)


def double_scenes(folder: Path, interpreter: str = sys.executable) -> SceneConfig:
    """Scenes whose worker runs habitat's backend on the double."""
    python = double_python(folder, interpreter)
    return SceneConfig(kind="habitat", habitat=HabitatConfig(python=python, answer_within_s=120))
