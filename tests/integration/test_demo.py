"""The demo as a person types it: killed half-way, run again to its end, and told wrong things."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from flywheel.dagster_home import opened_instance
from hitl_ops.contracts.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def _command(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "flywheel", "demo", "--preset", "tiny_ci", "--root", str(root), *words]


def test_killed_half_way_it_goes_on_and_says_what_came_out(tmp_path: Path) -> None:
    iteration = Store.at(tmp_path).iteration("planner", 0)
    traces = iteration.rollouts / "teacher" / "traces"
    with (tmp_path / "first.log").open("wb") as printed:
        first = subprocess.Popen(_command(tmp_path), stdout=printed, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 300
        while len(list(traces.glob("*.jsonl.gz"))) < 2:
            assert time.monotonic() < deadline and first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.01)
        first.kill()
        first.wait()
    before = {file.name: file.stat().st_mtime_ns for file in traces.glob("*.jsonl.gz")}

    words = ["--set", "evaluation.videos=false", "--set", "evaluation.decision_limit=6"]
    second = subprocess.run(_command(tmp_path, *words), capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    after = {file.name: file.stat().st_mtime_ns for file in traces.glob("*.jsonl.gz")}
    assert len(after) == 8 and before.items() <= after.items()
    assert not list(tmp_path.rglob("*.part-*"))

    figures = json.loads((tmp_path / "planner" / "demo.json").read_text())
    summary = json.loads((iteration.evaluation / "summary.json").read_text())
    for key in ("teacher.success", "student.success", "student_over_teacher", "decisions_latency_ms"):
        assert figures[key] == summary[key]
    assert figures["preset"] == "tiny_ci"
    for said in ("validation homes", "test homes", "teacher (95%)", "student (95%)", "report.html", "make up"):
        assert said in second.stdout, second.stdout
    assert "Traceback" not in second.stderr and "dagster" not in second.stderr.lower(), second.stderr
    assert "STEP_SUCCESS" in (iteration.base / "demo.log").read_text()

    with opened_instance(Store.at(tmp_path)) as instance:
        runs = instance.get_runs()
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
        assert {run.job_name for run in runs} == {"planner_iteration_0"}
        assert instance.get_materialized_partitions(dg.AssetKey("planner_evaluation")) == {"000"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "training.config.epoch=3"], "did you mean 'epochs'?"),
        (["--preset", "labtop"], "preset 'labtop' is unknown"),
        (["--set", "checks.least_samples=100000", "--set", "episodes.train=1"], "check 'samples_degenerate'"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    told = subprocess.run(
        _command(tmp_path, *words), capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert told.returncode == 2, told.stderr
    assert said in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "planner" / "demo.json").exists()
