"""A slow link and a cut cable: the robot holds, then the episode goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hitl_ops.records.station_hdf5 import read_station_episode


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("made_by", ["kernel", "relay"])
def test_over_a_slow_link_that_is_cut_the_robot_holds_and_then_resumes(
    tmp_path: Path, source_root: Path, made_by: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bad_link_station", str(tmp_path), made_by],
        cwd=source_root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    if "skip" in outcome:
        pytest.skip(outcome["skip"])
    assert outcome["code"] == 0, outcome["said"]
    # Slow alone costs nothing: the next chunk was asked for in time, and what had passed was dropped from it.
    assert outcome["before"]["latency_ms"] > 120
    assert outcome["before"]["late_steps"] >= 5
    assert outcome["before"]["waits"] == 0
    # Cut: the rest of the chunk was carried out, then the robot held, and then it went on.
    assert outcome["waits"] >= 1
    assert outcome["calls"][:6] == ["reset", "hold", "command", "hold", "command", "hold"]
    episode = read_station_episode(outcome["episodes"][0])
    assert (episode.facts.status, episode.facts.verdict) == ("complete", "good")
    assert episode.frames >= outcome["frames_at_the_end_of_the_cut"] + 60
    assert np.diff(episode.timestamp).max() > 0.3
