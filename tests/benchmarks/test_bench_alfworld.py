"""ALFWorld's benchmark, in seconds: both engines are measured, and JSON is all there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("alfworld", reason="ALFWorld is not installed (extra 'alfworld')")


@pytest.mark.slow
@pytest.mark.integration
def test_both_engines_are_measured_in_turn_and_nothing_but_json_is_printed() -> None:
    options = [part for value in ("rounds=1", "games=1", "steps=4", "pictures=3") for part in ("--set", value)]
    command = [sys.executable, "-m", "flywheel", "bench", "alfworld", "--json", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    steps, loading, first, pictures = json.loads(done.stdout)
    assert [row["unit"] for row in (steps, loading, first, pictures)] == ["1/s", "s", "s", "1/s"]
    assert all(row["ours"] > 0 for row in (steps, loading, first, pictures))
    assert steps["ratio"] == pytest.approx(steps["ours"] / steps["reference"], rel=0.02)
    assert loading["ratio"] == pytest.approx(loading["reference"] / loading["ours"], rel=0.05)
    assert first["ours"] > loading["ours"]
    assert steps["target"] == 8 and steps["holds"] is (steps["ratio"] >= 8)
    assert pictures["reference"] is None and "not AI2-THOR" in pictures["metric"]


def test_settings_are_checked() -> None:
    command = [sys.executable, "-m", "flywheel", "bench", "alfworld", "--json", "--set", "rounds=0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 2 and "rounds" in done.stderr and "Traceback" not in done.stderr
