"""The advantage program's demo at its smallest: real recordings, an estimator, policies; killed, it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hitl_assets.advantage_iterations import AdvantagePaths
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import read_card
from hitl_ops.models.robot_policy import load_robot_policy
from hitl_ops.records.lerobot_overlay import open_overlay
from hitl_ops.records.lerobot_reading import open_lerobot
from tests.support.registries import with_registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_from_marks_to_policies_and_on_after_a_kill(tmp_path: Path) -> None:
    store = with_registry(Store.at(tmp_path / "store"))
    paths = AdvantagePaths(store.iteration("advantage", 0))
    words = [sys.executable, "-m", "flywheel", "demo", "--program", "advantage", "--preset", "tiny_ci"]
    words += ["--root", str(store.root)]
    environment = {**os.environ, "COLUMNS": "200"}
    killed = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )
    while killed.poll() is None and not (paths.estimator / "train_log.jsonl").is_file():
        time.sleep(0.02)
    assert killed.poll() is None, killed.stdout.read().decode() if killed.stdout else ""
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    recorded = {file: file.stat().st_mtime_ns for file in paths.marked_recordings.rglob("*.hdf5")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert recorded and {file: file.stat().st_mtime_ns for file in recorded} == recorded

    figures = json.loads(store.demo_figures("advantage").read_text())
    assert [one["variant"] for one in figures["variants"]] == ["awbc", "bc", "filtered_bc", "awr"]
    assert all(one["success"]["n"] == 2 and list(one["by_seed"]) == ["0"] for one in figures["variants"])
    assert figures["estimator"]["episodes"] == figures["new_episodes"] == 2
    assert figures["estimator"]["advantage"]["frames"] == open_lerobot(paths.new_dataset).info.total_frames
    for said in ("told of advantages (AWBC)", "weighted by advantage (AWR)", "over plain cloning", "correlates"):
        assert said in done.stdout, done.stdout
    assert (store.root / "advantage" / "demo.png").stat().st_size > 10_000

    # The policy that can be served is asked in the labels' very words, and says so.
    folder = store.iteration("advantage", 0).policy
    assert read_card(folder) == read_card(paths.policies / "awbc_0")
    tasks = open_overlay(paths.advantage, open_lerobot(paths.new_dataset)).tasks
    assert tasks is not None and load_robot_policy(folder).metadata["prompt"] == tasks[1]
    assert tasks[1].endswith("Advantage: positive")
