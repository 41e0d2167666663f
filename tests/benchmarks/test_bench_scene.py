"""The scenes' benchmark, in seconds: that every scene there is answers, and that the socket's cost is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE


@pytest.mark.slow
@pytest.mark.integration
def test_scenes_are_measured_in_turn_and_nothing_but_json_is_printed() -> None:
    brief = ["rounds=1", "episodes=1", "queries=20", "frames=2", "width=32", "height=24"]
    options = [part for value in brief for part in ("--set", value)]
    command = [sys.executable, "-m", "flywheel", "bench", "scene", "--json", *options]
    environment = {name: value for name, value in os.environ.items() if name != PYTHON_VARIABLE}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) == 2 * 5 and all(row["ours"] > 0 and row["unit"] == "1/s" for row in rows)
    for here, socket in zip(rows[::2], rows[1::2], strict=True):
        assert here["reference"] is None and "in this process" in here["metric"]
        assert "behind the socket" in socket["metric"] and socket["reference"] == here["ours"]
        assert socket["ratio"] == pytest.approx(socket["ours"] / here["ours"], abs=0.01)
    assert "habitat-sim is left out" in done.stderr
