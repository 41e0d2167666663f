"""The environment that imitation's side runs in: its pins of Gymnasium and Stable-Baselines3 cannot live beside ours.

``python -m benchmarks.preferences.environment`` builds it, in ``benchmarks/preferences/.venv``. PyBullet is compiled
where uv has not kept what it compiled before, which takes about four minutes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from hitl_ops.contracts.errors import UserError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
_VENV = HERE / ".venv"
_PYTHON = _VENV / "bin" / "python"
_STAMP = _VENV / ".built_from"


def python() -> Path:
    """Its Python.

    Raises:
        UserError: the environment is not built, or of other requirements.
    """
    if not _STAMP.is_file() or _STAMP.read_text() != _wanted():
        raise UserError(
            "the environment of imitation's side is not built, or of other requirements",
            "run `python -m benchmarks.preferences.environment`, which fetches PyTorch and may compile PyBullet",
        )
    return _PYTHON


def variables() -> dict[str, str]:
    """The environment variables its processes run with: they find our packages, and none of our libraries."""
    kept = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONHOME"}}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def build() -> None:
    """Make it, unless it is there.

    Raises:
        SystemExit: something could not be fetched or built.
    """
    sys.path.insert(0, str(ROOT))
    import bootstrap

    uv = bootstrap.find_uv()
    # In the root: pyproject.toml says there what PyBullet is compiled with.
    doing = [
        ([uv, "venv", "--quiet", "--clear", "--python", bootstrap.find_python(uv), str(_VENV)], "making .venv"),
        ([uv, "pip", "install", "--compile-bytecode", "--python", str(_PYTHON), "-r", str(REQUIREMENTS)], "installing"),
    ]
    for command, named in doing:
        if bootstrap.watch(command, named) != 0:
            bootstrap.fail(f"{named} failed", "look at the lines above; running again resumes")
    test = "import imitation.algorithms.preference_comparisons, pybullet; assert pybullet.isNumpyEnabled()"
    subprocess.run([str(_PYTHON), "-c", test], env=variables(), check=True)
    _STAMP.write_text(_wanted())


def _wanted() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


if __name__ == "__main__":
    try:
        python()
    except UserError:
        build()
    print(python())
