"""Where a scene is chosen: two settings, and everybody plays in it; what was played stays in its scene."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hitl_assets.presets import chosen_preset
from hitl_ops.contracts.config import apply_overrides
from hitl_ops.contracts.errors import UserError
from hitl_ops.experts.oracle import Oracle
from hitl_ops.records.traces import read_trace, write_trace
from hitl_ops.rollouts.play import play_episode
from hitl_ops.rollouts.run import RolloutConfig, run_rollouts
from hitl_ops.worlds.habitat.config import PYTHON_VARIABLE, SceneConfig
from hitl_ops.worlds.habitat.open_scene import KeptScenes, open_recorded_scene, open_scene
from hitl_ops.worlds.habitat.remote_scene import RemoteScene
from hitl_ops.worlds.household.kinematic_scene import KinematicScene
from tests.support.habitat_environment import BEHIND_THE_SOCKET
from tests.support.plays import small_episode
from ui_collect.settings import CollectSettings

CHOICE = ["scene.kind=habitat", "scene.habitat.python=/opt/habitat/bin/python"]


def test_two_settings_are_all_a_user_changes() -> None:
    preset = chosen_preset("laptop", CHOICE)
    chosen = SceneConfig.model_validate({"kind": "habitat", "habitat": {"python": "/opt/habitat/bin/python"}})
    assert preset.scene == preset.played_rollouts.scene == chosen
    assert apply_overrides(RolloutConfig(), CHOICE).scene == chosen
    assert apply_overrides(CollectSettings(), CHOICE).scene == chosen
    assert chosen_preset("laptop", []).played_rollouts.scene == SceneConfig()
    with pytest.raises(UserError, match=r"scene\.kind"):
        chosen_preset("laptop", ["scene.kind=castle"])


def test_the_usual_scene_is_not_told_so_that_older_rollouts_are_gone_on_with() -> None:
    usual, other = RolloutConfig(), apply_overrides(RolloutConfig(), CHOICE)
    assert "scene" not in usual.told()
    assert other.told() == {**usual.told(), "scene": {"kind": "habitat", "backend": "habitat", "scene_dataset": ""}}
    elsewhere = apply_overrides(other, ["scene.habitat.python=/usr/bin/python", "scene.habitat.gpu=0"])
    assert elsewhere.told() == other.told(), "another machine's path changes nothing"


@pytest.mark.parametrize("before", [SceneConfig(), BEHIND_THE_SOCKET], ids=["kinematic", "socket"])
def test_a_rollout_is_not_gone_on_with_in_another_scene(tmp_path: Path, before: SceneConfig) -> None:
    after = BEHIND_THE_SOCKET if before == SceneConfig() else SceneConfig()
    (tmp_path / "rollout.json").write_text(
        json.dumps({**RolloutConfig(scene=before).told(), "planner_fingerprint": "oracle"})
    )
    with pytest.raises(UserError, match="another 'scene'"):
        run_rollouts([small_episode()], RolloutConfig(processes=1, scene=after), tmp_path)


def test_habitat_without_an_interpreter_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    with pytest.raises(UserError, match="no interpreter with habitat-sim is named"):
        print(SceneConfig(kind="habitat").habitat.interpreter)
    monkeypatch.setenv(PYTHON_VARIABLE, "/opt/python")
    assert SceneConfig(kind="habitat").habitat.interpreter == "/opt/python"


def test_what_was_played_names_its_scene_and_stays_in_it(tmp_path: Path) -> None:
    scene = open_scene(BEHIND_THE_SOCKET, small_episode().scene_id)
    oracle = Oracle("full")
    played = play_episode(small_episode(), {0: oracle, 1: oracle}, scene=scene)
    assert isinstance(scene, RemoteScene)
    scene.close()
    path = tmp_path / "trace.jsonl.gz"
    write_trace(path, played.header, played.decisions, played.result)
    assert read_trace(path).header.scene == "habitat"
    usual = play_episode(small_episode(), {0: oracle, 1: oracle})
    assert usual.header.scene == "kinematic" and usual.result.state_hash == played.result.state_hash
    again = open_recorded_scene(usual.header.played_scene, BEHIND_THE_SOCKET)
    assert isinstance(again, KinematicScene), "whatever is preferred now"


def test_a_few_scenes_are_kept_and_lost_ones_are_opened_anew() -> None:
    config = SceneConfig(kind="habitat", habitat=BEHIND_THE_SOCKET.habitat.replace(scenes_kept=2))
    kept = KeptScenes(config)
    homes = ["flywheel_train_000", "flywheel_train_001", "flywheel_train_002"]
    try:
        first, second = kept.scene(homes[0]), kept.scene(homes[1])
        assert isinstance(first, RemoteScene) and isinstance(second, RemoteScene)
        assert kept.scene(homes[0]) is first
        third = kept.scene(homes[2])
        assert isinstance(third, RemoteScene)
        assert second.lost and not first.lost and not third.lost
        first.close()
        assert kept.scene(homes[0]) is not first
    finally:
        kept.close()
    assert third.lost
