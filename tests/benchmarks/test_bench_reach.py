"""The arm's benchmark, in seconds: that all three ways of stepping are measured, and that JSON is all there is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.integration
def test_the_arm_is_measured_in_turn_and_nothing_but_json_is_printed() -> None:
    brief = ["rounds=1", "arms=2", "steps=10", "ppo.arms=2", "ppo.rollout_steps=8", "ppo.batch_size=8"]
    options = [part for value in [*brief, "ppo.total_steps=16"] for part in ("--set", value)]
    command = [sys.executable, "-m", "flywheel", "bench", "reach", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["unit"] for row in rows] == ["1/s", "1/s", "1/s", ""]
    assert all(row["ours"] > 0 for row in rows) and rows[3]["ours"] < 1
    for row, name in zip(rows, ("DummyVecEnv of 2", "SubprocVecEnv of 2"), strict=False):
        assert name in row["reference_name"] and row["reference"] > 0
        assert row["ratio"] == pytest.approx(row["ours"] / row["reference"], abs=0.02)
    assert "pybullet" not in done.stderr
