"""The code location must load in seconds: heavy libraries wait until a step needs them."""

from __future__ import annotations

import json
import subprocess
import sys

import dagster as dg
import pytest

from hitl_assets.definitions import build_defs

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "mlflow",
    "lerobot",
    "pybullet",
    "pandas",
    "pyarrow",
    "moderngl",
    "matplotlib",
    "openai",
    "av",
    "scipy",
)


@pytest.mark.slow
def test_loads_without_heavy_libraries() -> None:
    script = (
        "import json, sys\n"
        "import hitl_assets.definitions\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(loaded.stdout.splitlines()[-1]) == []


@pytest.mark.slow
def test_definitions_are_loadable_and_fresh() -> None:
    first, second = build_defs(), build_defs()
    dg.Definitions.validate_loadable(first)
    assert first is not second
    assert first.resolve_job_def("planner_iteration_0").partitions_def is not None
