"""A slow link, and one that is cut: the robot holds, then the episode goes on, or is kept as far as it came."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hitl_ops.records.station_hdf5 import read_station_episode, read_station_facts

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def collected(folder: Path, source_root: Path, link: str, gap: str) -> dict[str, Any]:
    """What became of an epoch over such a link."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bad_link_station", str(folder), link, gap],
        cwd=source_root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "skip" in outcome:
        pytest.skip(outcome["skip"])
    assert outcome["code"] == 0, outcome["said"]
    # Slow alone costs nothing: the next chunk was asked for in time, and what had passed was dropped from it.
    assert outcome["before"]["latency_ms"] > 120
    assert outcome["before"]["late_steps"] >= 5
    assert outcome["before"]["waits"] == 0
    return outcome


@pytest.mark.parametrize(("link", "gap"), [("kernel", "short"), ("relay", "short"), ("relay", "broken")])
def test_after_a_short_gap_the_same_episode_goes_on(tmp_path: Path, source_root: Path, link: str, gap: str) -> None:
    outcome = collected(tmp_path, source_root, link, gap)
    assert (outcome["connections"] > outcome["before"]["connections"]) == (gap == "broken")
    # Cut: the rest of the chunk was carried out, then the robot held, and then it went on.
    assert outcome["waits"] >= 1
    assert outcome["calls"][:6] == ["reset", "hold", "command", "hold", "command", "hold"]
    (path,) = outcome["episodes"]
    episode = read_station_episode(path)
    assert (episode.facts.status, episode.facts.verdict) == ("complete", "good")
    assert episode.frames >= outcome["frames_at_the_end_of_the_cut"] + 60
    assert np.diff(episode.timestamp).max() > 0.3


@pytest.mark.parametrize("link", ["kernel", "relay"])
def test_after_a_long_gap_the_episode_is_kept_as_aborted_and_the_next_can_begin(
    tmp_path: Path, source_root: Path, link: str
) -> None:
    outcome = collected(tmp_path, source_root, link, "long")
    assert outcome["calls"][:4] == ["reset", "hold", "command", "hold"]
    facts = [read_station_facts(Path(path)) for path in outcome["episodes"]]
    assert [(fact.status, fact.verdict) for fact in facts] == [("aborted", None), ("complete", "good")]
    assert facts[0].reason.startswith("connection lost (")
    assert f"! robot holds: {facts[0].reason}" in outcome["said"]
    assert read_station_episode(outcome["episodes"][0]).frames >= 75
