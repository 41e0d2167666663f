"""The station's verbs by hand: recordings to a data set, a policy trained, gone on with, and scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flywheel.cli import run
from flywheel.simulated_stations import StationServers, client_config
from hitl_assets.station_presets import chosen_station_preset
from hitl_ops.contracts.config import parse_config
from hitl_ops.contracts.store import Store
from hitl_ops.models.planner_lm import read_card
from robot_client.station_config import StationConfig
from tests.support.station_store import collect


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_convert_train_go_on_and_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.at(tmp_path / "store")
    monkeypatch.setenv("FLYWHEEL_HOME", str(store.root))
    collect(store, 1, ["good", "bad"])
    dataset, first, second = tmp_path / "dataset", tmp_path / "first", tmp_path / "second"
    assert run(["convert", str(store.station_incoming / "lift_lid"), str(dataset)]) == 0
    train = ["train", "--program", "station", "--samples", str(dataset), "--preset", "tiny_ci", "--no-track"]
    assert run([*train, "--out", str(first), "--max-steps", "2", "--merge"]) == 0
    card = read_card(first)
    assert (card.program, card.parent) == ("station", "act") and card.policy_id in capsys.readouterr().out
    # The same command again finds it done; another goes on from it.
    assert run([*train, "--out", str(first), "--max-steps", "2"]) == 0
    assert run([*train, "--out", str(second), "--max-steps", "1", "--base", str(first), "--merge"]) == 0
    assert json.loads((second / "train_summary.json").read_text())["start"] == str(first / "merged")
    capsys.readouterr()
    words = ["evaluate", "--program", "station", f"old={first}", f"new={second}", "--out", str(tmp_path / "scored")]
    assert run([*words, "--preset", "tiny_ci", "--set", "episodes=1", "--set", "scoring.reference=old"]) == 0
    summary = json.loads((tmp_path / "scored" / "summary.json").read_text())
    assert summary["policy_ids"] == {"old": card.policy_id, "new": read_card(second).policy_id}
    assert "report.html" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    for words, said in (
        (["train", "--program", "station", "--samples", nowhere, "--out", nowhere], "make it with `flywheel convert`"),
        (["train", "--program", "station", "--samples", nowhere, "--out", nowhere, "--preset", "x"], "is unknown"),
        (["demo", "--world", "aloha"], "--world is for stations"),
        (["demo", "--program", "station", "--preset", "tiny_ci", "--world", "moon", "--root", nowhere], "'moon'"),
    ):
        assert run(words) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(("preset", "world"), [("tiny_ci", ""), ("tiny_ci", "aloha"), ("paper", "")])
def test_simulated_stations_are_configured_as_their_client_wants_it(tmp_path: Path, preset: str, world: str) -> None:
    if world == "aloha":
        pytest.importorskip("gym_aloha", reason="the extra 'aloha' is not installed")
    chosen = chosen_station_preset(preset, ["collection.stations=[east, west]"], world)
    servers = StationServers(8123, "http://127.0.0.1:8124", "token")
    east, west = (
        parse_config(StationConfig, client_config(chosen, servers, name, number, tmp_path), source="demo")
        for number, name in enumerate(chosen.collection.stations)
    )
    assert east.task.description == chosen.collection.description and east.data.upload.enabled
    assert east.robot.adapter == chosen.world and east.robot.seed != west.robot.seed
    assert (east.control.chunk_steps, east.control.blend_steps) == (
        chosen.evaluation.chunk_steps,
        chosen.evaluation.blend_steps,
    )
    assert [camera.name for camera in east.cameras] == chosen.evaluation.world_options["cameras"]
