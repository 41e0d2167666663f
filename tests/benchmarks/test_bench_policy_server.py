"""The policy server's benchmark, in seconds instead of minutes: that it measures what it says."""

from __future__ import annotations

import json

import pytest

from flywheel import bench as verb


@pytest.mark.slow
@pytest.mark.integration
def test_both_servers_are_measured_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    brief = ["rounds=1", "questions=10", "alone_pass_ms=1", "robots=4", "pass_ms=40", "seconds=1"]
    verb.bench("policy-server", as_json=True, overrides=brief)
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 5
    for row in rows.values():
        assert row["ours"] > 0 and row["reference"] > 0 and row["reference_name"] == "server that blocks its event loop"
    chunks = rows["chunks a second, 4 robots, pass of 40 ms"]
    # One after another, 25 is the most there can be; with shared passes four times as many.
    assert chunks["reference"] <= 25 + 1 and chunks["ours"] <= 100 + 4
    assert chunks["target"] == 4.0 and chunks["holds"] is (chunks["ours"] >= 4 * chunks["reference"])
    assert rows["overhead over bare inference, p50, 4 pictures of 224×224"]["target"] == 2.0
