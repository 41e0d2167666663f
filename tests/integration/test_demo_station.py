"""The station's demo at its smallest: real servers, the real client over HTTP, training as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hitl_ops.contracts.station_epoch import EpochFolder, missing_of, read_manifest
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import read_card
from hitl_ops.records.station_hdf5 import read_station_facts
from hitl_ops.serving.policy_alias import resolve
from tests.support.registries import with_registry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_stations_collect_with_what_serves_and_controls_stand_beside_what_is_learned(tmp_path: Path) -> None:
    store = with_registry(Store.at(tmp_path / "store"))
    words = ["demo", "--program", "station", "--preset", "tiny_ci", "--iterations", "1", "--root", str(store.root)]
    words += ["--set", "demonstrations.episodes=2", "--set", "collection.stations=[east, west]"]
    words += ["--set", "collection.episodes=1"]
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "flywheel", *words], capture_output=True, text=True, check=False, env=wide
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr

    base = read_card(store.iteration("station", 0).policy).policy_id
    folder = EpochFolder(store.station_incoming, "lift_lid", 1)
    for station in ("east", "west"):
        manifest = read_manifest(folder.manifest(station))
        assert len(manifest.episodes) == 1 and missing_of(folder, manifest) == []
    facts = [read_station_facts(file) for file in sorted(folder.raw.glob("*.hdf5"))]
    assert [(one.policy_id, one.iteration, one.sim, one.status) for one in facts] == [(base, 1, True, "complete")] * 2
    assert all(one.advantage is one.success for one in facts), "judged by the simulator's truth"

    figures = json.loads(store.demo_figures("station").read_text())
    rows, controls = figures["epochs"], figures["controls"]
    assert [row["iteration"] for row in rows] == [0, 1] and rows[0]["policy_id"] == base
    assert rows[0]["gain"] is None and rows[1]["gain"]["n"] == rows[1]["success"]["n"] == 2
    assert (rows[1]["good"] + rows[1]["bad"], rows[1]["dataset_episodes"]) == (2, 4)
    assert [(one["name"], one["iteration"], one["steps"], one["dataset_episodes"]) for one in controls] == [
        ("told nothing", 1, 4, 4),
        ("demonstrations only", 1, 4, 2),
    ]
    assert all(one["student_minus_control"]["n"] == 2 for one in controls)
    for folder_name, style in (("control", "plain"), ("control_demonstrations", "advantage")):
        assert read_card(store.iteration("station", 1).base / folder_name / "policy").prompt_style == style
    assert (store.root / "station" / "epochs.png").stat().st_size > 10_000
    for said in (
        "Lift the lid off the bowl (bimanual)",
        "000 base",
        "control: told nothing",
        "over demonstrations only",
    ):
        assert said in done.stdout, done.stdout
    serving = resolve(store, "station")
    assert serving is not None and serving.policy_id == [row["policy_id"] for row in rows if row["promoted"]][-1]
    assert _at_work_on(store) == [], "servers and clients ended with the demo"


def _at_work_on(store: Store) -> list[str]:
    """Commands of processes that name the store."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in found if str(store.root) in command]
