"""The loop by hand at its smallest: killed while people play, run again to its end, and told wrong things."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hitl_ops.contracts.store import Store
from hitl_ops.labels.label_store import LabelStore
from hitl_ops.serving.policy_alias import resolve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def _command(root: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "flywheel", *words, "--preset", "tiny_ci", "--root", str(root)]


def _finished(store: Store) -> int:
    if not (store.root / "labels.db").exists():
        return 0
    with contextlib.closing(LabelStore.open(store.labels_url)) as labels:
        return labels.finished_play_counts("planner").get(1, 0)


def test_killed_while_people_play_it_goes_on_and_says_what_their_time_bought(tmp_path: Path) -> None:
    store = Store.at(tmp_path / "store")
    words = ["demo", "--iterations", "1", "--set", "collection.target=3", "--set", 'evaluation.splits=["val"]']
    words += ["--set", "checks.least_human_samples=1"]
    with (tmp_path / "first.log").open("wb") as printed:
        first = subprocess.Popen(
            _command(store.root, *words), stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        deadline = time.monotonic() + 600
        while _finished(store) < 1:
            assert time.monotonic() < deadline and first.poll() is None, (tmp_path / "first.log").read_text()
            time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        first.wait()

    wide = {**os.environ, "COLUMNS": "200"}
    second = subprocess.run(_command(store.root, *words), capture_output=True, text=True, check=False, env=wide)
    assert second.returncode == 0, second.stderr
    figures = json.loads(store.demo_figures("planner").read_text())
    rows = figures["iterations"]
    assert [row["iteration"] for row in rows] == [0, 1]
    assert rows[0]["gain"] is None and rows[1]["gain"]["n"] == rows[1]["success"]["n"] > 0
    assert rows[1]["plays"] == _finished(store) >= 3
    assert figures["human_minutes"] == pytest.approx(rows[0]["human_minutes"] + rows[1]["human_minutes"], abs=0.02)
    assert rows[1]["play_minutes"] > 0 and rows[1]["label_minutes"] > 0
    assert {"distilled", "human_gold", "expert"} >= set(rows[1]["samples"]) > {"distilled"}
    assert (store.root / "planner" / "iterations.png").stat().st_size > 10_000
    for said in ("validation homes", "over iteration 0", "human minutes", "000", "001", "points a minute"):
        assert said in second.stdout, second.stdout
    assert "Traceback" not in second.stderr, second.stderr

    serving = resolve(store, "planner")
    promoted = [row["policy_id"] for row in rows if row["promoted"]]
    assert serving is not None and serving.policy_id == promoted[-1]
    again = subprocess.run(
        _command(store.root, *words, "--fresh"), capture_output=True, text=True, check=False, env=wide
    )
    assert again.returncode == 2 and "what people gave is not thrown away" in again.stderr.splitlines()[-1]


def test_an_iteration_needs_one_before_it(tmp_path: Path) -> None:
    told = subprocess.run(
        _command(tmp_path, "iterate", "--scripted"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert told.returncode == 2, told.stderr
    assert "iteration 000" in told.stderr.splitlines()[-1] and "Traceback" not in told.stderr
